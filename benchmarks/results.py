"""Writes docs/results.md: all metrics of the branch and the softmax head on real photographs, and their contrasts.

Protocol: that of `bsoftmax evaluate`, printed under every table. Localisation on wild20-boxes (250 photographs, true
class); fidelity on wild20/val, class by class at most `--limit` of them, predicted class (the bundled branch's pull and
rank were chosen on the same photographs, by other numbers); both on cub10's test split with a branch trained on its
train split by the defaults; Deletion and Insertion on few of the first. A killed run resumes from the records and the
trained model in `--work`.

    python benchmarks/results.py ../shared/data --work runs/results [--workers 2]
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import timing  # noqa: F401  (puts the repository on the path)

from bsoftmax.cams import methods as cam_methods
from bsoftmax.evaluation import metrics
from bsoftmax.evaluation.column import verdict
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate
from bsoftmax.reports import text as tables
from bsoftmax.training import run as run_module
from bsoftmax.training.job import TrainRun

ROOT = Path(__file__).resolve().parent.parent
SHOWN = {
    "places": ("gt_loc", "top1_loc", "max_box_acc", "max_box_acc_v2", "pointing"),
    "fidelity": ("average_drop", "increase", "average_gain", "adcc", "average_drop.own", "increase.own"),
    "curves": ("deletion", "insertion"),
}
HEAD = """# Results on real photographs

Written by `python benchmarks/results.py ../shared/data`; whoever has the data can run it. Every number is a mean over
images with its 95 % bootstrap interval. Differences are paired over the same images, and called one only where their
interval leaves out 0. Many comparisons stand here and nothing was corrected for their number: one interval in twenty
leaves out 0 by chance.
"""


def trained(data, work):
    """A model for cub10's classes on the bundled trunk, by the defaults."""
    out = work / "cub10.safetensors"
    if not out.exists():
        run_module.train(TrainRun(str(data / "cub10"), out, work / "cache", classes="own"))
    return out


def shown(found, names):
    """One line a column, without those that are equal by construction."""
    names = [name for name in names if any(name in c["metrics"] for c in found["columns"])]
    heads = ["method", "source", "clamp", *map(tables.title, names)]
    rows = []
    for c in found["columns"]:
        if c["same_as"] is None:
            cells = [tables.interval_of(c["metrics"][n]) if n in c["metrics"] else "" for n in names]
            rows.append([*tables.column_labels(c), *cells])
    return tables.rows_markdown(heads, rows)


def contrasts(found, names, methods=("cam", "gradcam++", "layercam")):
    """The contrasts of some methods, with a verdict in words."""
    names = [name for name in names if any(name in c["difference"] for c in found["contrasts"])]
    rows = []
    for c in found["contrasts"]:
        if c["method"] in methods:
            cells = []
            for name in names:
                cell, higher = c["difference"][name], metrics.find(name).higher_is_better
                cells.append(f"{tables.interval_of(cell, '+')} {verdict(cell, higher)}")
            rows.append([cam_methods.METHODS[c["method"]].label, c["question"], *cells])
    return tables.rows_markdown(["method", "question", *map(tables.title, names)], rows)


def significant(found, names):
    """The metrics that differ, in one sentence a question."""
    lines = []
    for question in dict.fromkeys(c["question"] for c in found["contrasts"]):
        differing = []
        for c in found["contrasts"]:
            if c["question"] == question:
                both = [(n, verdict(c["difference"][n], metrics.find(n).higher_is_better)) for n in names
                        if n in c["difference"]]  # fmt: skip
                differing += [f"{cam_methods.METHODS[c['method']].label} {tables.title(n)} {v}" for n, v in both
                         if v != "no difference"]  # fmt: skip
        lines.append(f"- {question}: {'; '.join(differing) or 'no difference anywhere'}.")
    return "\n".join(lines)


def protocol(found):
    """The protocol, collapsed."""
    lines = [[tables.escape_markdown(a), tables.escape_markdown(b)] for a, b in tables.protocol_lines(found)
             if not a.startswith(("command", "model.training"))]  # fmt: skip
    return f"<details><summary>Protocol</summary>\n\n{tables.rows_markdown(['', ''], lines)}\n\n</details>"


def section(title, run, kinds, workers):
    """Runs an evaluation and returns its section."""
    done = evaluate(run, workers=workers, emit=progress(title))
    found = json.loads(Path(done["results"]).read_text())
    parts = [f"## {title}", f"{found['n']:,} images, {len(found['unreadable'])} counted out."]
    for kind in kinds:
        parts += [shown(found, SHOWN[kind]), "One thing changed at a time:", contrasts(found, SHOWN[kind])]
        parts += ["Where a difference leaves out 0:", significant(found, SHOWN[kind])]
    return "\n\n".join([*parts, protocol(found)])


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
    base = EvalRun("", work, cache=work / "cache")
    boxes = replace(base, data=str(data / "wild20-boxes"), out=work / "boxes", metrics=("localization",),
                    called="wild20-boxes")  # fmt: skip
    fidelity = replace(base, data=str(data / "wild20" / "val"), out=work / "fidelity", metrics=("fidelity",),
                       limit=options.limit, called="wild20/val")  # fmt: skip
    curves = replace(fidelity, out=work / "curves", metrics=("curves",), limit=options.curves, methods=("cam",))
    birds = replace(base, data=str(data / "cub10"), out=work / "cub10", model=str(trained(data, work)),
                    called="cub10")  # fmt: skip
    parts = [
        section("Places: wild20-boxes, bundled model", boxes, ["places"], options.workers),
        section("Places by the authors' rules: wild20-boxes", replace(
            boxes, out=work / "official", protocol="official", methods=("cam", "gradcam")), ["places"],
            options.workers),
        section("Fidelity: wild20/val, bundled model", fidelity, ["fidelity"], options.workers),
        section("Deletion and Insertion: a few of the same", curves, ["curves"], options.workers),
        section("Birds: cub10's test split, a branch trained on its train split", birds, ["places", "fidelity"],
                options.workers),
    ]  # fmt: skip
    reading = ROOT / "docs" / "reading.md"
    read = reading.read_text() if reading.exists() else ""
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "results.md").write_text("\n".join([HEAD, read, "\n\n".join(parts)]) + "\n")


if __name__ == "__main__":
    main()
