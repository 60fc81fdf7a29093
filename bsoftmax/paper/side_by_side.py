"""The published and the reproduced numbers as Markdown, CSV, LaTeX and JSON, with their protocols."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..reports.latex import TABLE1, TABLE2
from ..reports.text import escape_latex, escape_markdown, interval_of, protocol_lines, rows_markdown, title
from ..utils.files import write_text
from . import published
from .presets import Cell
from .published import BACKBONES, CORPORA, DIFFERS, Row, Table

Found = Mapping[str, Mapping[str, Any]]
PARTS = ("baseline", "ours", "change")
FIELDS = ("value", "low", "high")
EITHER = "either"  # protocol of numbers that do not depend on it
HEADS = ("backbone", "method", "metric", "protocol", *(f"{where}: {what}" for where in ("paper", "here")
         for what in ("baseline", "+ Ours", "Δ")), "n", "note")  # fmt: skip
HEADER_KEYS = ("format", "complete", "n", "asked", "seed", "rounds", "unreadable", "notes", "data", "model", "protocol",
           "versions")  # fmt: skip


def build_table(table: Table, cells: Sequence[Cell], found: Found, protocols: Sequence[str]) -> dict[str, Any]:
    """A table's JSON: one row a data set, backbone, method, metric and protocol; and the options of every cell.

    `found`: of every cell, where present, "problem" (a sentence), "training" (its options) and results by protocol.
    """
    rows = [row for cell in cells for row in _rows(table, cell, found[cell.key], protocols)]
    described = {}
    for cell in cells:
        results = found[cell.key]
        measured = [protocol for protocol in protocols if protocol in results]
        described[cell.key] = {
            "dataset": cell.corpus.title, "paper_data": cell.corpus.paper, "trunk": cell.trunk.name,
            "trunk_note": cell.trunk.note, "classes": "kept" if cell.kept else "own", "problem": results.get("problem"),
            "training": results.get("training"),
            "results": {p: {k: results[p][k] for k in HEADER_KEYS if k in results[p]} for p in measured},
        }  # fmt: skip
    return {"table": table.key, "title": table.title, "differs": list(DIFFERS), "rows": rows, "cells": described}


def _rows(table: Table, cell: Cell, found: Mapping[str, Any], protocols: Sequence[str]) -> Iterator[dict[str, Any]]:
    for printed in table.rows:
        if published.trunk_of(printed.backbone, printed.method) is not cell.trunk:
            continue
        for n, (corpus, metric) in enumerate(table.columns):
            if corpus == cell.corpus.key:
                for protocol in protocols:
                    fixed = EITHER if len(table.protocols) == 1 else protocol
                    names = {"dataset": corpus, "backbone": printed.backbone, "method": printed.method}
                    names |= {"metric": metric, "protocol": fixed, "cell": cell.key}
                    yield names | _numbers(printed, n, metric, found.get(protocol), found.get("problem"))


def _numbers(printed: Row, n: int, metric: str, results: Any, problem: str | None) -> dict[str, Any]:
    """The published numbers, the reproduced ones with their number of images, and a note."""
    here: dict[str, Any] = dict.fromkeys(PARTS)
    note = problem
    if results is not None:
        columns = {(c["source"], c["clamp"]): c for c in results["columns"] if c["method"] == printed.method}
        base, ours = columns["softmax", False], columns["sigmoid", True]
        here["baseline"] = base["metrics"].get(metric)
        if printed.ours[n] is not None:
            here |= {"ours": ours["metrics"].get(metric), "change": ours["difference"].get(metric)}
        note = _note(results, here["baseline"] is None)
    of_paper = {part: getattr(printed, part)[n] for part in PARTS}
    count = None if here["baseline"] is None else here["baseline"]["n"]
    return {"paper": of_paper, "here": here, "n": count, "note": note}


def _note(results: Mapping[str, Any], absent: bool) -> str | None:
    if absent:
        return " ".join(["Not measured: the data has nothing to measure it by.", *results["notes"]])
    seen = results["n"] + len(results["unreadable"])
    parts = [] if results["complete"] else [f"stopped early: {seen:,} of {results['asked']:,} images were looked at"]
    if lost := len(results["unreadable"]):
        parts.append(f"counted out, as they cannot be read: {lost:,} of {seen:,} images")
    return "; ".join(parts) or None


def write(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes <table>.md, .csv, .tex and .json atomically."""
    texts = {"md": markdown(found), "csv": table_csv(found), "tex": latex(found), "json": json.dumps(found, indent=1)}
    return [write_text(folder / f"{found['table']}.{ending}", text) for ending, text in texts.items()]


def row_numbers(row: Mapping[str, Any]) -> list[str]:
    """The published baseline, + Ours and difference, then the reproduced ones with intervals; "–" for none."""
    out = []
    for part in PARTS:
        value, sign = row["paper"][part], "+" if part == "change" else ""
        out.append("–" if value is None else f"{value:{sign}.2f}")
    for part in PARTS:
        cell, sign = row["here"][part], "+" if part == "change" else ""
        out.append("–" if cell is None else interval_of(cell, sign))
    return out


def row_labels(row: Mapping[str, Any]) -> list[str]:
    """Backbone, method, metric and protocol of a row, for readers."""
    return [BACKBONES[row["backbone"]], METHODS[row["method"]].label, title(row["metric"]), row["protocol"]]


def markdown(found: Mapping[str, Any]) -> str:
    """One table a data set with its notes; then the differences from the paper's setup, and every cell's protocol."""
    parts = [f"# {found['title']}: the paper's numbers and those found here", INTRODUCTION]
    for corpus in dict.fromkeys(row["dataset"] for row in found["rows"]):
        notes: dict[str, int] = {}
        lines = []
        for row in (row for row in found["rows"] if row["dataset"] == corpus):
            mark = f"[{notes.setdefault(row['note'], len(notes) + 1)}]" if row["note"] else ""
            count = "" if row["n"] is None else f"{row['n']:,}"
            lines.append([*map(escape_markdown, row_labels(row)), *row_numbers(row), count, escape_markdown(mark)])
        parts += [f"## {CORPORA[corpus].title}", f"The paper: {CORPORA[corpus].paper}.", rows_markdown(HEADS, lines)]
        if notes:
            parts.append("\n".join(f"- {escape_markdown(f'[{n}] {note}')}" for note, n in notes.items()))
    parts += ["## What differs from the paper", "\n".join(f"- {line}" for line in found["differs"])]
    lines = [[escape_markdown(name), escape_markdown(value)] for name, value in provenance(found)]
    return "\n\n".join([*parts, "## Protocol", rows_markdown(["", ""], lines)]) + "\n"


INTRODUCTION = (
    "Percent. Baseline: the softmax head, unclamped; + Ours: the sigmoid branch, positive weights only; Δ: their "
    "difference. Here with 95 % intervals over n images, that of Δ paired."
)


def provenance(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the options, every cell's training and the headers of its results."""
    lines = [(name, str(value)) for name, value in found.get("options", {}).items()]
    for key, cell in found["cells"].items():
        for name in ("problem", "trunk_note", "classes", "training"):
            if cell[name]:
                lines.append((f"{key}.{name}", str(cell[name])))
        for protocol, header in cell["results"].items():
            lines += [(f"{key}.{protocol}.{name}", value) for name, value in protocol_lines(header)]
    return lines


def table_csv(found: Mapping[str, Any]) -> str:
    """One line a row, in full precision, under the protocol and the differences in comment lines."""
    out = io.StringIO()
    for name, value in [*(("differs", line) for line in found["differs"]), *provenance(found)]:
        out.write(f"# {name}: {' '.join(value.split())}\n")
    writer = csv.writer(out, lineterminator="\n")
    names = ("dataset", "backbone", "method", "metric", "protocol")
    writer.writerow([*names, *(f"paper_{part}" for part in PARTS),
                     *(f"here_{part}_{bound}" for part in PARTS for bound in FIELDS), "n", "note"])  # fmt: skip
    for row in found["rows"]:
        here = [(row["here"][part] or {}).get(bound) for part in PARTS for bound in FIELDS]
        writer.writerow([*(row[k] for k in names), *row["paper"].values(), *here, row["n"], row["note"]])
    return out.getvalue()


def latex(found: Mapping[str, Any]) -> str:
    """The layout of the paper's table: its numbers, then those of each protocol. LaTeX needs only booktabs."""
    rows, heads = found["rows"], TABLE1 | TABLE2
    columns = list(dict.fromkeys((row["dataset"], row["metric"]) for row in rows))
    named = [f"{escape_latex(CORPORA[corpus].title)} {heads[metric]}" for corpus, metric in columns]
    lines = [f"% {name}: {' '.join(value.split())}" for name, value in provenance(found)]
    lines += [rf"\begin{{tabular}}{{lll{'r' * len(columns)}}}", r"\toprule"]
    lines.append(" & ".join(["Backbone", "Method", "Numbers", *named]) + r" \\")
    for backbone, method in dict.fromkeys((row["backbone"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["backbone"], row["method"]) == (backbone, method)]
        lines.append(r"\midrule")
        for where in ("paper", *dict.fromkeys(row["protocol"] for row in mine)):
            shown = {(r["dataset"], r["metric"]): r for r in mine if where in ("paper", r["protocol"])}
            for part, name in zip(PARTS, (METHODS[method].label, "+ Ours", r"$\Delta$")):
                cells = [_number(shown.get(column), where, part) for column in columns]
                lines.append(" & ".join([BACKBONES[backbone], name, where, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _number(row: Mapping[str, Any] | None, where: str, part: str) -> str:
    if row is None:
        return "--"
    found = row["paper"][part] if where == "paper" else (row["here"][part] or {}).get("value")
    if found is None:
        return "--"
    return f"({found:+.2f})" if part == "change" else f"{found:.2f}"
