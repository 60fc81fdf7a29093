"""Writes docs/results.md: five sentences, a figure and a small table about real photographs, then every number.

Protocol: that of `bsoftmax evaluate`, printed under every table. Localisation on wild20-boxes (250 photographs, true
class); fidelity on wild20/val, class by class at most `--limit` of them, predicted class (the bundled branch's pull and
rank were chosen on the same photographs, by other numbers); both on cub10's test split with a branch trained on its
train split by the defaults; Deletion and Insertion on few of the first. A killed run resumes from the records and the
trained model in `--work`: with them nothing is measured again.

    python benchmarks/results.py ../shared/data --work runs/results [--workers 2]
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import timing  # noqa: F401  (puts the repository on the path)

from bsoftmax.evaluation.column import CONTRASTS
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate
from bsoftmax.images.export import save_figure
from bsoftmax.reports import plots, small_tables, text, verdicts, write_tables
from bsoftmax.reports.tables import contrast_table
from bsoftmax.reports.verdict import caution, excludes_zero, outcome
from bsoftmax.training import run as run_module
from bsoftmax.training.job import TrainRun

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAPER, CLAMP, UNCLAMPED, CLAMPED, ODDS, CENTRED = MAIN = list(CONTRASTS)[:6]
PLACES, DROP = "gt_loc", "average_drop"
SHOWN = {
    "places": ("gt_loc", "top1_loc", "max_box_acc", "max_box_acc_v2", "pointing"),
    "fidelity": ("average_drop", "increase", "average_gain", "adcc", "average_drop.own", "increase.own"),
    "curves": ("deletion", "insertion"),
}
METHODS = ("cam", "gradcam++", "layercam")  # whose contrasts are printed
SECTIONS = {  # key: title, and groups of metrics printed
    "boxes": ("Places: wild20-boxes, bundled model", ["places"]),
    "official": ("Places by the authors' rules: wild20-boxes", ["places"]),
    "fidelity": ("Fidelity: wild20/val, bundled model", ["fidelity"]),
    "curves": ("Deletion and Insertion: a few of the same", ["curves"]),
    "cub10": ("Birds: cub10's test split, a branch trained on its train split", ["places", "fidelity"]),
}
HEAD = "# Results on real photographs"
NOTE = """Differences under CAM, in points, with paired 95 % intervals over images; more GT-known Loc is better, less
Average Drop; bold: a difference by Holm's correction over the methods and metrics of the question, while an interval
alone leaves out 0 once in twenty by chance (`docs/intervals.md`). Written by
`python benchmarks/results.py ../shared/data`; whoever has the data can run it."""


def trained(data, work):
    """A model for cub10's classes on the bundled trunk, by the defaults."""
    out = work / "cub10.safetensors"
    if not out.exists():
        run_module.train(TrainRun(str(data / "cub10"), out, work / "cache", classes="own"))
    return out


def runs(options, data, work):
    """The evaluation of every section."""
    base = EvalRun("", work, cache=work / "cache")
    boxes = replace(base, data=str(data / "wild20-boxes"), metrics=("localization",), called="wild20-boxes")
    fidelity = replace(base, data=str(data / "wild20" / "val"), metrics=("fidelity",), limit=options.limit,
                       called="wild20/val")  # fmt: skip
    found = {
        "boxes": boxes,
        "official": replace(boxes, protocol="official", methods=("cam", "gradcam")),
        "fidelity": fidelity,
        "curves": replace(fidelity, metrics=("curves",), limit=options.curves, methods=("cam",)),
        "cub10": replace(base, data=str(data / "cub10"), model=str(trained(data, work)), called="cub10"),
    }
    return {key: replace(run, out=work / key) for key, run in found.items()}


def difference(found, question, name):
    """CAM's answer to a question in a metric."""
    of = next(c for c in found["contrasts"] if (c["method"], c["question"]) == ("cam", question))
    return of["difference"][name]


def said(found, question, name):
    """not certainly different (-1.2 points [-3.2, +0.4]); 8.2 points better [4.1, 11.9]."""
    cell = difference(found, question, name)
    word = outcome(cell, name)
    if word == "no difference":
        value, ends = text.interval(cell, name, "+").split(" ", 1)
        words = "not confirmed by Holm's correction" if excludes_zero(cell) else "not certainly different"
        return f"{words} ({value} points {ends})"
    sign = 1 if cell["value"] > 0 else -1
    low, high = sorted((sign * cell["low"], sign * cell["high"]))
    value, ends = text.interval({"value": abs(cell["value"]), "low": low, "high": high}, name).split(" ", 1)
    return f"{value} points {word} {ends}"


def sentences(found):
    """The five sentences, every number and every outcome in them computed."""
    boxes, drop, birds = found["boxes"], found["fidelity"], found["cub10"]

    def both(question):
        return f"{said(boxes, question, PLACES)} at boxes and {said(drop, question, DROP)} at fidelity"

    better = [
        f["data"]["source"] for f in (boxes, birds) if outcome(difference(f, CLAMPED, PLACES), PLACES) == "better"
    ]
    families = [family for f in found.values() for family in f["families"]]
    made, passed = (sum(family[key] for family in families) for key in ("comparisons", "together"))
    return [
        "**The paper's step**, the branch clamped against the softmax head unclamped, is "
        f"{said(boxes, PAPER, PLACES)} at finding boxes (GT-known Loc, {boxes['n']} photographs of wild20-boxes) and "
        f"{said(drop, PAPER, DROP)} at fidelity (Average Drop, {drop['n']} of wild20/val).",
        f"**The clamp alone**, on the softmax head's own weights, is {both(CLAMP)}; **log-odds**, which need no "
        f"training, are, clamped, {both(ODDS)}, and **centred rows**, which need none either, {both(CENTRED)}.",
        f"**The branch against the softmax head** is, neither clamped, {both(UNCLAMPED)}; both clamped, "
        f"{both(CLAMPED)}.",
        f"**On birds** ({birds['n']} test images of cub10, heads trained there) the paper's step is "
        f"{said(birds, PAPER, PLACES)} at finding boxes, the clamp alone {said(birds, CLAMP, PLACES)}, and the branch "
        f"against the softmax head, both clamped, {said(birds, CLAMPED, PLACES)}.",
        "**So** the branch finds boxes better than the softmax head under the same clamp on "
        f"{text.joined(better) if better else 'neither set'}; of {made:,} comparisons made here, {passed:,} are "
        "differences by Holm's correction.",
    ]


def small_table(found):
    """A row for each of the first six questions: boxes and fidelity on both sets."""
    shown = [("boxes", PLACES), ("fidelity", DROP), ("cub10", PLACES), ("cub10", DROP)]
    heads = ["what changes", *(f"{found[key]['data']['source']}: {text.title(name)}" for key, name in shown)]
    asked = [q for q in MAIN if any(c["question"] == q for c in found["boxes"]["contrasts"])]
    rows = []
    for question in asked:
        cells = [difference(found[key], question, name) for key, name in shown]
        words = [outcome(cell, name) for cell, (_, name) in zip(cells, shown)]
        bold = ["" if word == "no difference" else f" **{word}**" for word in words]
        rows.append([question, *(text.interval(c, name, "+") + b for c, b, (_, name) in zip(cells, bold, shown))])
    return text.rows_markdown(heads, rows)


def figure(found):
    """GT-known Loc of every question on both sets, as a forest plot in docs/figures."""
    rows = {}
    for key in ("boxes", "cub10"):
        for contrast in (c for c in found[key]["contrasts"] if c["method"] == "cam"):
            source = f"{found[key]['data']['source']}, {found[key]['n']} images"
            rows.setdefault(contrast["question"], {})[source] = contrast["difference"][PLACES]
    made = plots.forest([plots.Panel("GT-known Loc under CAM", PLACES, rows)])
    for end in ("png", "svg"):
        save_figure(made, DOCS / "figures" / f"places.{end}")
    return "![Differences in GT-known Loc with their intervals, on both sets](figures/places.svg)"


def shown(found, names):
    """One line a column, without those that are equal by construction."""
    names = [name for name in names if any(name in c["metrics"] for c in found["columns"])]
    heads = ["method", "source", "clamp", *map(text.title, names)]
    rows = []
    for c in found["columns"]:
        if c["same_as"] is None:
            cells = [text.interval_of(c["metrics"][n]) if n in c["metrics"] else "" for n in names]
            rows.append([*text.column_labels(c), *cells])
    return text.rows_markdown(heads, rows)


def contrasts(found, names):
    """The contrasts of some methods, with a verdict in words."""
    kept = [c for c in found["contrasts"] if c["method"] in METHODS]
    names = [name for name in names if any(name in c["difference"] for c in kept)]

    def worded(cells, name):
        return f"{text.interval_of(cells[name], '+')} {outcome(cells[name], name)}"

    return contrast_table({"contrasts": kept}, names, worded)


def protocol(found):
    """The protocol as a table."""
    lines = [[text.escape_markdown(a), text.escape_markdown(b)] for a, b in text.protocol_lines(found)
             if not a.startswith(("command", "model.training"))]  # fmt: skip
    return text.rows_markdown(["", ""], lines)


def details(summary, *parts):
    """Parts that are shown on a click."""
    return "\n\n".join([f"<details><summary>{summary}</summary>", *parts, "</details>"])


def section(key, found):
    """A section: its verdict and small tables; every number, every difference and the protocol on a click each."""
    title, kinds = SECTIONS[key]
    parts = [f"## {title}", f"{found['n']:,} images, {len(found['unreadable'])} counted out. {caution(found)}"]
    for said in verdicts(found):
        parts.append("\n".join([said.setting, "", *(f"- {answer}" for answer in (said.headline, *said.answers))]))
    parts += [table.markdown() for table in small_tables(found)]
    for name, made in plots.figures(found).items():
        save_figure(made, DOCS / "figures" / f"{key}-{name}.svg")
        parts.append(details(f"Figure: {plots.FIGURES[name]}", f"![{plots.FIGURES[name]}](figures/{key}-{name}.svg)"))
    for kind in kinds:
        parts.append(details("Every method, source and clamp", shown(found, SHOWN[kind])))
        parts.append(details("One thing changed at a time", contrasts(found, SHOWN[kind])))
    return "\n\n".join([*parts, details("Protocol", protocol(found))])


def own_confidence(found):
    """Average Drop by each source's own confidence, both clamped."""
    by = {c["key"]: c["metrics"] for c in found["columns"]}
    keys = {"own_branch": "cam/sigmoid/on", "own_softmax": "cam/softmax/on"}
    return {name: f"{by[key]['average_drop.own']['value']:.1f} %" for name, key in keys.items()}


def progress(title):
    """Progress on stderr."""

    def emit(event):
        if event["event"] == "progress":
            print(f"\r{title}: {event['done']}/{event['total']}   ", end="", file=sys.stderr)

    return emit


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/results"))
    parser.add_argument("--limit", type=int, default=250)
    parser.add_argument("--curves", type=int, default=16)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    data, work = options.data.resolve(), options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    (DOCS / "figures").mkdir(parents=True, exist_ok=True)
    found = {}
    for key, run in runs(options, data, work).items():
        done = evaluate(run, workers=options.workers, emit=progress(key), report=write_tables)
        found[key] = json.loads(Path(done["results"]).read_text())
    top = [HEAD, "\n".join(f"{n}. {words}" for n, words in enumerate(sentences(found), 1)), figure(found)]
    reading = (DOCS / "reading.md").read_text().format(**own_confidence(found["fidelity"]))
    top += [small_table(found), NOTE, reading.strip()]
    parts = [*top, *(section(key, found[key]) for key in SECTIONS)]
    (DOCS / "results.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
