"""Results as Markdown, CSV and LaTeX, each file with its protocol."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..utils.files import write_text
from ..utils.text import printable
from . import metrics

Results = Mapping[str, Any]
OURS = ("sigmoid", True)  # what the paper calls "+ Ours": the branch, positive weights only
TABLE1 = {"average_drop": r"\% Average Drop $\downarrow$", "increase": r"\% Increase in Confidence $\uparrow$"}
TABLE2 = {
    "top1_cls": "Top1 Cls", "top1_loc": "Top1 Loc", "gt_loc": "GT Loc", "max_box_acc_v2": "MBAv2", "px_ap": "PxAP"
}  # fmt: skip
FIELDS = ("value", "low", "high", "n")
CSV_HEAD = [
    "column", "method", "source", "clamp", "same_as", "metric", *FIELDS, "baseline",
    *(f"difference_{f}" for f in FIELDS[:3]), "better", "worse", "equal",
]  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$:])")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def write(results: Results, folder: Path) -> list[Path]:
    """Writes results.md, results.csv and, where their metrics were measured, table1.tex and table2.tex; atomically."""
    texts = {"results.md": markdown(results), "results.csv": table_csv(results)}
    texts |= {f"table{n}.tex": text for n in (1, 2) if (text := latex(results, n))}
    for stale in {"table1.tex", "table2.tex"} - texts.keys():
        (folder / stale).unlink(missing_ok=True)
    return [write_text(folder / name, text) for name, text in texts.items()]


def title(name: str) -> str:
    """A metric's name for a heading; "own" where the source's own confidence is scored."""
    metric = metrics.find(name)
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    return metric.title + (" (own)" if name.endswith(".own") else "") + arrow


def metric_names(results: Results) -> list[str]:
    """The metrics that any column has, in the order of the registry."""
    found = {name for column in results["columns"] for name in column["metrics"]}
    return [name for name in metrics.names() if name in found]


def escape_markdown(text: str) -> str:
    """A string for Markdown and the HTML in it, escaped, on one line."""
    return _MARKDOWN.sub(r"\\\1", printable(" ".join(text.split())))


def escape_latex(text: str) -> str:
    """A string for LaTeX, escaped, on one line."""
    return "".join(_LATEX.get(c, c) for c in printable(" ".join(text.split())))


def protocol_lines(results: Results) -> list[tuple[str, str]]:
    """Everything but the numbers: (name, value), nested names joined by dots."""
    lines = {key: results[key] for key in ("format", "complete", "n", "asked", "seed", "rounds") if key in results}
    lines |= {"unreadable": len(results["unreadable"]), "notes": results.get("notes", [])}
    lines |= {key: results[key] for key in ("data", "model", "protocol", "versions", "command") if key in results}
    return list(_flat("", lines))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, (list, tuple)):
        yield name, " ".join(map(str, value))
    else:
        yield name, str(value)


def interval_of(cell: Mapping[str, float], sign: str = "") -> str:
    """1.23 [0.45, 2.01]."""
    return f"{cell['value']:{sign}.2f} [{cell['low']:{sign}.2f}, {cell['high']:{sign}.2f}]"


def column_labels(column: Mapping[str, Any]) -> list[str]:
    """Method, source and clamp of a column, for readers."""
    return [METHODS[column["method"]].label, SOURCES[column["source"]].title, "on" if column["clamp"] else "off"]


def rows_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells must be escaped."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *rows])


def markdown(results: Results) -> str:
    """Every column and metric with its interval, then the paired differences, the contrasts and the protocol."""
    names, columns = metric_names(results), results["columns"]
    heads = ["method", "source", "clamp", *(title(name) for name in names)]
    rows = [[*column_labels(c), *(_cell(c["metrics"], name) for name in names)] for c in columns]
    parts = ["# Results", _summary(results), rows_markdown(heads, rows)]
    if compared := [c for c in columns if c["baseline"]]:
        rows = [[*column_labels(c), *(_difference(c, name) for name in names)] for c in compared]
        parts += ["## Against the same method on the softmax head, unclamped", DIFFERENCES, rows_markdown(heads, rows)]
    if results.get("contrasts"):
        parts += ["## What makes the difference", DIFFERENCES, _contrasts(results, names)]
    if same := [f"{c['key']} = {c['same_as']}" for c in columns if c["same_as"]]:
        parts.append(f"One map by construction: {escape_markdown('; '.join(same))}.")
    if unreadable := results["unreadable"]:
        lines = [f"- {escape_markdown(name)}: {escape_markdown(reason)}" for name, reason in unreadable]
        parts += ["## Counted out", "\n".join(lines)]
    protocol = [[escape_markdown(name), escape_markdown(value)] for name, value in protocol_lines(results)]
    return "\n\n".join([*parts, "## Protocol", rows_markdown(["", ""], protocol)]) + "\n"


def _contrasts(results: Results, names: Sequence[str]) -> str:
    rows = [
        [METHODS[c["method"]].label, c["question"], *(_signed(c["difference"], name) for name in names)]
        for c in results["contrasts"]
    ]
    return rows_markdown(["method", "question", *(title(name) for name in names)], rows)


def _signed(cells: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in cells:
        return ""
    cell = cells[name]
    return interval_of(cell, "+") + ("\\*" if cell["low"] > 0 or cell["high"] < 0 else "")


DIFFERENCES = (
    "Difference with its paired 95 % interval, a star where that leaves out 0; then the share of images that got "
    "better / worse."
)


def _summary(results: Results) -> str:
    n, total, unreadable = results["n"], results["asked"], len(results["unreadable"])
    seen = f"{n + unreadable:,} of {total:,} images"
    stopped = "" if results["complete"] else f" **Stopped early: {seen} were looked at.**"
    return f"{n:,} images, {unreadable:,} counted out, means and 95 % bootstrap intervals.{stopped}"


def _cell(cells: Mapping[str, Mapping[str, float]], name: str) -> str:
    return interval_of(cells[name]) if name in cells else ""


def _difference(column: Mapping[str, Any], name: str) -> str:
    if name not in column["difference"]:
        return ""
    share = column["shares"].get(name)
    return _signed(column["difference"], name) + (f"; {share['better']:.0f} / {share['worse']:.0f} %" if share else "")


def table_csv(results: Results) -> str:
    """One line a column and metric, in full precision, under the protocol in comment lines."""
    out = io.StringIO()
    for name, value in protocol_lines(results):
        out.write(f"# {name}: {' '.join(printable(value).split())}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for c in results["columns"]:
        for name, cell in c["metrics"].items():
            difference, share = c["difference"].get(name, {}), c["shares"].get(name, {})
            writer.writerow([
                c["key"], c["method"], c["source"], "on" if c["clamp"] else "off", c["same_as"], name,
                *(cell[f] for f in FIELDS), c["baseline"], *(difference.get(f) for f in FIELDS[:3]),
                *(share.get(f) for f in ("better", "worse", "equal")),
            ])  # fmt: skip
    return out.getvalue()


def latex(results: Results, number: int) -> str | None:
    """The paper's Table 1 (fidelity) or 2 (localisation) with these numbers; None where none of them was measured.

    For every method the softmax head unclamped, the branch clamped ("+ Ours"), and their difference. LaTeX needs only
    booktabs.
    """
    heads = {1: TABLE1, 2: TABLE2}[number]
    names = [name for name in heads if any(name in c["metrics"] for c in results["columns"])]
    if not set(names) - {"top1_cls"}:
        return None
    lines = [f"% {name}: {' '.join(printable(value).split())}" for name, value in protocol_lines(results)]
    lines += [rf"\begin{{tabular}}{{ll{'r' * len(names)}}}", r"\toprule"]
    lines += [" & ".join(["Backbone", "Method", *(heads[name] for name in names)]) + r" \\", r"\midrule"]
    backbone = escape_latex(results["model"]["trunk"])
    for rows in _pairs(results, names):
        lines += [" & ".join([backbone, *row]) + r" \\" for row in rows[:1]]
        lines += [" & ".join(["", *row]) + r" \\" for row in rows[1:]]
        backbone = ""
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _pairs(results: Results, names: Sequence[str]) -> Iterator[list[list[str]]]:
    columns = {(c["method"], c["source"], c["clamp"]): c for c in results["columns"]}
    for method in dict.fromkeys(c["method"] for c in results["columns"]):
        base, ours = columns.get((method, "softmax", False)), columns.get((method, *OURS))
        if not base:
            continue
        rows = [[METHODS[method].label, *(_number(base["metrics"], name) for name in names)]]
        if ours:
            rows.append(["+ Ours", *(_number(ours["metrics"], name) for name in names)])
            rows.append([r"$\Delta$", *(_number(ours["difference"], name, "(+.2f)") for name in names)])
        yield rows


def _number(cells: Mapping[str, Mapping[str, float]], name: str, shape: str = ".2f") -> str:
    if name not in cells:
        return "--"
    text = f"{cells[name]['value']:{shape.strip('()')}}"
    return f"({text})" if shape.startswith("(") else text
