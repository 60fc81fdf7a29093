"""The small tables of an evaluation, the table of one metric with a sentence on it, and the names in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bsoftmax import METHODS, SOURCES
from bsoftmax.evaluation.column import BASELINE
from bsoftmax.evaluation.metrics import find
from bsoftmax.reports.tables import Cell, SmallTable
from bsoftmax.reports.text import interval, joined, title
from bsoftmax.reports.topics import Kind, identical_groups, kind_of
from bsoftmax.reports.verdict import outcome

from ..components.report import Block, table

HEAD = ("map", "{}", "Against softmax, unclamped", "In words", "Images better / worse")
SHORT = {key: source.title.lower() for key, source in SOURCES.items()} | {"softmax": "softmax", "sigmoid": "the branch"}
FROZEN = [(key, clamp) for key, source in SOURCES.items() if source.branch == "softmax" for clamp in (False, True)]


def source_title(kind: Kind, either: bool = False) -> str:
    """A source and its clamp as the title of a row."""
    return f"{SOURCES[kind[0]].title}, {'clamped or not' if either else 'clamped' if kind[1] else 'unclamped'}"


def column_title(key: str) -> str:
    """A column's key as a title."""
    method, source, clamp = key.split("/")
    return f"{METHODS[method].label}, {source_title((source, clamp == 'on'))}"


def outcome_word(column: dict[str, Any], name: str) -> str:
    """Better, worse or no difference, by the paired interval of a column; empty where there is none."""
    difference = column["difference"].get(name)
    return outcome(difference, name) if difference else ""


def small_block(small: SmallTable) -> Block:
    """A topic's first metrics, a row a method."""
    rows: list[list[Any]] = []
    for name, lines in small.rows.items():
        rows += [[title(name)], *([label, *map(_small_cell, cells)] for label, cells in lines)]
    return table(f"{small.topic.title}: means", ["method", *small.heads], rows)


def _small_cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text, "best": cell.best}


def comparison_table(found: dict[str, Any], name: str) -> Block:
    """One metric of every method, source and clamp: mean, interval, difference, share of images."""
    reach = max((abs(c["difference"][name][end]) for c in found["columns"] if name in c["difference"]
                 for end in ("low", "high")), default=0)  # fmt: skip
    rows: list[list[Any]] = []
    for methods, columns in identical_groups(found["columns"]):
        lines = list(_rows(columns, name, reach))
        if lines:
            rows += [[" = ".join(METHODS[m].label for m in methods)], *lines]
    width = len(HEAD) - (not any(name in c["shares"] for c in found["columns"]))
    arrow = {True: ", higher is better", False: ", lower is better", None: ""}[find(name).higher_is_better]
    own = ", each source's own confidence" if name.endswith(".own") else ""
    metric = find(name)
    caption = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}{own}{arrow}: mean and 95 % interval"
    return table(caption, [part.format(metric.title) for part in HEAD[:width]], [row[:width] for row in rows])


def _rows(columns: Sequence[dict[str, Any]], name: str, reach: float) -> Iterable[list[Any]]:
    columns = [c for c in columns if name in c["metrics"]]
    for column in columns:
        same = [c for c in columns if kind_of(c)[0] == column["source"] and c["look"] == column["look"]
                and c["place"] == column["place"]]  # fmt: skip
        if same[0] is not column:
            continue
        first = METHODS[column["method"]].label + ", which knows no class"
        title = first if METHODS[column["method"]].class_free else source_title(kind_of(column), len(same) > 1)
        mean, difference = interval(column["metrics"][name], name), column["difference"].get(name)
        if difference is None:
            base = kind_of(column) == (BASELINE, False) and len(columns) > 1
            yield [title, mean, "", "the baseline" if base else "", ""]
            continue
        span = [(difference[end] / reach + 1) / 2 if reach else 0.5 for end in ("low", "value", "high")]
        cell = {"text": interval(difference, name, "+"), "span": span}
        share = column["shares"].get(name)
        shares = f"{share['better']:.0f} % / {share['worse']:.0f} %" if share else ""
        yield [title, mean, cell, outcome_word(column, name), shares]


def verdict(found: dict[str, Any], name: str) -> str:
    """One sentence on one metric, from the paired intervals alone."""
    groups = identical_groups(found["columns"])
    words: dict[Kind, list[str]] = {}
    for _, columns in groups:
        for column in columns:
            if word := outcome_word(column, name):
                words.setdefault(kind_of(column), []).append(word)
    metric = find(name)
    n = found["n"]
    start = "On this image" if n == 1 else f"On these {n:,} images"
    if not words:
        return f"{start} {metric.title} stands alone: softmax, unclamped, was not measured beside it."
    same = all(word == "no difference" for all_ in words.values() for word in all_)
    if same:
        parts = [f"no source and no clamp differs in {metric.title} from softmax unclamped beyond its interval"]
    else:
        outcomes: dict[str, list[Kind]] = {}
        for kind, all_ in words.items():
            outcomes.setdefault(_outcomes(all_), []).append(kind)
        parts = [f"{_named(kinds)} {'is' if len(kinds) == 1 else 'are'} {how}" for how, kinds in outcomes.items()]
        start = f"{start}, by {metric.title} and against softmax unclamped:"
    alike = [kind for kind in FROZEN if kind != (BASELINE, False) and _as_well(groups, kind, name)]
    if alike and (same or "better" in words.get(("sigmoid", True), [])):
        parts.append(f"{_named(alike)} {'does' if len(alike) == 1 else 'do'} as well as the branch clamped")
    return f"{start} {'; '.join(parts)}."


def _named(kinds: Sequence[Kind]) -> str:
    """Sources with their clamps, those of both clamps once."""
    both = [source for source in SHORT if {(source, False), (source, True)} <= set(kinds)]
    words = [SHORT[source] if source in both else f"{SHORT[source]} {'clamped' if clamp else 'unclamped'}"
             for source, clamp in kinds]  # fmt: skip
    words = [f"{word} (clamped or not)" if word in SHORT.values() else word for word in dict.fromkeys(words)]
    return joined(words)


def _outcomes(words: Sequence[str]) -> str:
    n, parts = len(words), []
    for word in ("better", "worse", "higher", "lower"):
        if count := words.count(word):
            how = "every method" if count == n else f"{count} of {n} methods"
            parts.append(f"{word} under {how}" if n > 1 else word)
    return joined(parts) if parts else "no different beyond the interval"


def _as_well(groups: Sequence[tuple[list[str], list[dict[str, Any]]]], kind: Kind, name: str) -> bool:
    """Whether under every method a column's difference lies in the clamped branch's interval, or on its good side."""
    higher, compared = find(name).higher_is_better, 0
    if higher is None:
        return False
    for _, columns in groups:
        by = {kind_of(c): c for c in columns}
        ours, theirs = by.get(("sigmoid", True)), by.get(kind)
        if not ours or not theirs or name not in ours["difference"]:
            continue
        difference = theirs["difference"].get(name, {"value": 0.0})["value"]
        if difference < ours["difference"][name]["low"] if higher else difference > ours["difference"][name]["high"]:
            return False
        compared += 1
    return compared > 0
