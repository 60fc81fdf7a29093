"""The small tables of a results.json, one a topic, and the long ones with every metric and interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation import metrics
from ..evaluation.column import differs
from ..utils.language import gettext as _
from .text import (
    Numbers,
    Results,
    column_labels,
    interval_of,
    joined,
    metric_names,
    number,
    rows_markdown,
    rows_text,
    source_title,
    title,
)
from .topics import Columns, Kind, Topic, folded, kind_of, kinds, topics

BOLD = "Bold: better than every other map of its row, by the 95 % interval of each paired difference."
NO_BOLD = "No map is better than every other of its row by the intervals of their paired differences."
DIFFERENCES = (
    "Difference with its paired 95 % interval, a star where it is called one; then the share of images that got better "
    "/ worse."
)


@dataclass(frozen=True)
class Cell:
    """A number of a small table, and whether it is the best of its row beyond chance."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class SmallTable:
    """A topic's metrics, each with a row a method: {metric: [(methods, a cell each kind)]}."""

    topic: Topic
    kinds: list[Kind]
    rows: dict[str, list[tuple[str, list[Cell]]]]
    notes: list[str]

    @property
    def heads(self) -> list[str]:
        """Its sources and clamps."""
        return [source_title(*kind) for kind in self.kinds]

    def markdown(self) -> str:
        """As Markdown, with its notes."""
        rows = [
            [title(name), label, *(f"**{c.text}**" if c.best else c.text for c in cells)]
            for name, lines in self.rows.items()
            for label, cells in lines
        ]
        return "\n\n".join([rows_markdown(["metric", "method", *self.heads], rows), " ".join(self.notes)])

    def text(self) -> str:
        """For a terminal: a star instead of bold."""
        heads = [["", *(SOURCES[source].key for source, clamp in self.kinds)]]
        heads.append(["", *("clamped" if clamp else "" for source, clamp in self.kinds)])
        for name, lines in self.rows.items():
            heads.append([title(name), *[""] * len(self.kinds)])
            heads += [[f"  {label}", *(c.text + "*" * c.best for c in cells)] for label, cells in lines]
        return "\n".join([rows_text(heads), *(note.replace("Bold:", "*") for note in self.notes)])


def small_tables(results: Results) -> list[SmallTable]:
    """One for each topic: methods that are one map in one row, sources and clamps in columns."""
    groups, notes = folded(results["columns"])
    return [_small(results, topic, names, groups, notes) for topic, names in topics(results)]


def _small(
    results: Results, topic: Topic, names: Sequence[str], groups: Sequence[tuple[list[str], Columns]], notes: list[str]
) -> SmallTable:
    columns = [c for methods, mine in groups for c in mine if any(name in c["metrics"] for name in names)]
    shown = kinds(columns) or [kind_of(columns[0])]
    best = results.get("best", {})
    rows = {name: [_row(methods, mine, name, shown, best) for methods, mine in groups] for name in names}
    any_best = any(cell.best for lines in rows.values() for label, cells in lines for cell in cells)
    reach = {name: max(_reach(c["metrics"][name]) for c in columns if name in c["metrics"]) for name in names}
    each = _("{value} for {metric}")
    far = [each.format(value=number(reach[name], name), metric=_(metrics.find(name).title)) for name in names]
    said = _("Means; their 95 % intervals, in results.csv, reach at most this far from them: {widest}.")
    return SmallTable(topic, shown, rows, [_(BOLD if any_best else NO_BOLD), said.format(widest=joined(far)), *notes])


def _row(
    methods: Sequence[str], mine: Columns, name: str, shown: Sequence[Kind], best: Mapping[str, Sequence[str]]
) -> tuple[str, list[Cell]]:
    label = " = ".join(METHODS[method].label for method in methods)
    by = {kind_of(c): c for c in mine if name in c["metrics"]}
    if METHODS[methods[0]].class_free:  # one map, whatever the source
        cells = [Cell(number(c["metrics"][name]["value"], name)) for c in by.values()]
        return _("{method}, which knows no class").format(method=label), cells + [Cell("")] * (len(shown) - len(cells))
    return label, [_small_cell(by.get(kind), name, best) for kind in shown]


def _small_cell(column: Mapping[str, Any] | None, name: str, best: Mapping[str, Sequence[str]]) -> Cell:
    if column is None:
        return Cell("")
    return Cell(number(column["metrics"][name]["value"], name), name in best.get(column["key"], ()))


def _reach(cell: Numbers) -> float:
    return max(cell["value"] - cell["low"], cell["high"] - cell["value"])


def long_tables(results: Results) -> list[tuple[str, str]]:
    """(heading, Markdown) of every column and metric with its interval, the differences, and the contrasts."""
    names, columns = metric_names(results), results["columns"]
    heads = [*("method", "source", "clamp"), *map(title, names)]
    rows = [[*column_labels(c), *(_cell(c["metrics"], name) for name in names)] for c in columns]
    parts = [("Every metric", rows_markdown(heads, rows))]
    if compared := [c for c in columns if c["baseline"]]:
        rows = [[*column_labels(c), *(_difference(c, name) for name in names)] for c in compared]
        body = f"{DIFFERENCES}\n\n{rows_markdown(heads, rows)}"
        parts.append(("Against the same method on the softmax head, unclamped", body))
    if results.get("contrasts"):
        parts.append(("What makes the difference", f"{DIFFERENCES}\n\n{contrast_table(results, names, _signed)}"))
    return parts


def contrast_table(results: Results, names: Sequence[str], cell: Callable[[Mapping[str, Numbers], str], str]) -> str:
    """A row a method and question, `cell` writing each metric's difference."""
    rows = (
        [METHODS[c["method"]].label, c["question"], *(cell(c["difference"], name) for name in names)]
        for c in results["contrasts"]
    )
    return rows_markdown(["method", "question", *map(title, names)], list(rows))


def full_text(results: Results) -> str:
    """Every column and metric with its interval, for a terminal; a star where it differs from the baseline."""
    names = metric_names(results)
    rows = [["", *map(title, names)]]
    for c in results["columns"]:
        rows.append([c["key"], *(_starred(c, name) for name in names)])
    return f"{rows_text(rows)}\n[95 % interval]; * differs from the method's softmax, unclamped"


def _starred(column: Mapping[str, Any], name: str) -> str:
    difference = column["difference"].get(name)
    return _cell(column["metrics"], name) + ("*" if difference and differs(difference) else "")


def _cell(cells: Mapping[str, Numbers], name: str) -> str:
    return interval_of(cells[name]) if name in cells else ""


def _signed(cells: Mapping[str, Numbers], name: str) -> str:
    if name not in cells:
        return ""
    return interval_of(cells[name], "+") + ("\\*" if differs(cells[name]) else "")


def _difference(column: Mapping[str, Any], name: str) -> str:
    share = column["shares"].get(name)
    shares = f"; {share['better']:.0f} / {share['worse']:.0f} %" if share else ""
    return _signed(column["difference"], name) + shares
