"""The files of an evaluation: a short results.md, every number as CSV, the paper's tables as LaTeX, and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..utils.files import write_text
from ..utils.text import printable
from . import plots
from .latex import latex
from .tables import long_tables, small_tables
from .text import Results, escape_markdown, protocol_lines, rows_markdown
from .verdict import NOTHING, Verdict, caution, lead, outcome, unfinished, verdicts

FIELDS = ("value", "low", "high", "n")
CSV_HEAD = [
    "column", "method", "source", "clamp", "same_as", "metric", *FIELDS, "baseline",
    *(f"difference_{f}" for f in FIELDS[:3]), "better", "worse", "equal", "best_of_its_method",
]  # fmt: skip


def write(results: Results, folder: Path, full: bool = False) -> list[Path]:
    """Writes the tables, and plots of what differs as .png and .svg; atomically."""
    return [*write_tables(results, folder, full), *plots.save(results, folder)]


def write_tables(results: Results, folder: Path, full: bool = False) -> list[Path]:
    """Writes results.md, results.csv and, where there is something in them, contrasts.csv, table1.tex, table2.tex.

    `full`: results.md ends with every metric, interval and difference.
    """
    texts = {"results.md": markdown(results, full), "results.csv": results_csv(results)}
    texts |= {"contrasts.csv": contrasts_csv(results)} if results.get("contrasts") else {}
    texts |= {f"table{n}.tex": text for n in (1, 2) if (text := latex(results, n))}
    for stale in {"contrasts.csv", "table1.tex", "table2.tex"} - texts.keys():
        (folder / stale).unlink(missing_ok=True)
    return [write_text(folder / name, text) for name, text in texts.items()]


def markdown(results: Results, full: bool = False) -> str:
    """The verdict in words, one small table a topic, and the protocol; then, if `full`, every number."""
    found, parts = verdicts(results), ["# Results", escape_markdown(lead(results))]
    if stopped := unfinished(results):
        parts.append(f"**{stopped}**")
    parts += [f"**{verdict.topic.title}.** {verdict.headline}" for verdict in found] or [NOTHING]
    parts += [caution(results)] if found else []
    said = {verdict.topic: verdict for verdict in found}
    for table in small_tables(results):
        parts += [f"## {table.topic.title}: {table.topic.asks}", *_words(said.get(table.topic)), table.markdown()]
    if figures := plots.drawn(results):
        parts += ["## Figures", *(f"![{plots.FIGURES[name]}]({name}.svg)" for name in figures)]
    parts += _counted_out(results)
    for heading, body in long_tables(results) if full else []:
        parts += [f"## {heading}", body]
    protocol = [[escape_markdown(name), escape_markdown(value)] for name, value in protocol_lines(results)]
    return "\n\n".join([*parts, "## Protocol", rows_markdown(["", ""], protocol)]) + "\n"


def _words(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return []
    answers = [verdict.headline, *verdict.answers]
    return [verdict.setting, "\n".join(f"- {answer}" for answer in answers), verdict.count]


def _counted_out(results: Results) -> list[str]:
    lines = [f"- {escape_markdown(name)}: {escape_markdown(reason)}" for name, reason in results["unreadable"]]
    return [f"## Counted out: {len(lines):,}", "\n".join(lines)] if lines else []


def results_csv(results: Results) -> str:
    """One line a column and metric, in full precision, under the protocol in comment lines."""
    return _csv(results, CSV_HEAD, _result_rows(results))


def _result_rows(results: Results) -> Iterator[list[Any]]:
    best = results.get("best", {})
    for c in results["columns"]:
        for name, cell in c["metrics"].items():
            difference, share = c["difference"].get(name, {}), c["shares"].get(name, {})
            yield [
                c["key"], c["method"], c["source"], "on" if c["clamp"] else "off", c["same_as"], name,
                *(cell[f] for f in FIELDS), c["baseline"], *(difference.get(f) for f in FIELDS[:3]),
                *(share.get(f) for f in ("better", "worse", "equal")), int(name in best.get(c["key"], ())),
            ]  # fmt: skip


def contrasts_csv(results: Results) -> str:
    """One line a question, method and metric: the paired difference of two columns, and what it says."""
    fields = list(dict.fromkeys(f for c in results["contrasts"] for cell in c["difference"].values() for f in cell))
    rows = (
        [c["question"], c["method"], *c["of"], name, *(cell.get(f) for f in fields), outcome(cell, name)]
        for c in results["contrasts"]
        for name, cell in c["difference"].items()
    )
    return _csv(results, ["question", "method", "of", "minus", "metric", *fields, "outcome"], rows)


def _csv(results: Results, head: Sequence[str], rows: Iterator[list[Any]]) -> str:
    out = io.StringIO()
    for name, value in protocol_lines(results):
        out.write(f"# {name}: {' '.join(printable(value).split())}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()
