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
from bsoftmax.utils.language import gettext as _

from ..components.report import Block, table

HEAD = ("map", "", "Against softmax, unclamped", "In words", "Images better / worse")  # "": the metric
SHORT = {key: source.title.lower() for key, source in SOURCES.items()} | {"softmax": "softmax", "sigmoid": "the branch"}
FROZEN = [(key, clamp) for key, source in SOURCES.items() if source.branch == "softmax" for clamp in (False, True)]


def source_title(kind: Kind, either: bool = False) -> str:
    """A source and its clamp as the title of a row."""
    clamp = _("clamped or not") if either else _("clamped") if kind[1] else _("unclamped")
    return f"{_(SOURCES[kind[0]].title)}, {clamp}"


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
    return table(_("{topic}: means").format(topic=_(small.topic.title)), [_("method"), *small.heads], rows)


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
    metric = find(name)
    arrow = {True: _(", higher is better"), False: _(", lower is better"), None: ""}[metric.higher_is_better]
    own = _(", each source's own confidence") if name.endswith(".own") else ""
    unit = f", {metric.unit}" if metric.unit else ""
    caption = _("{metric}{unit}{own}{arrow}: mean and 95 % interval")
    caption = caption.format(metric=_(metric.title), unit=unit, own=own, arrow=arrow)
    head = [_(part) if part else _(metric.title) for part in HEAD[:width]]
    return table(caption, head, [row[:width] for row in rows])


def _rows(columns: Sequence[dict[str, Any]], name: str, reach: float) -> Iterable[list[Any]]:
    columns = [c for c in columns if name in c["metrics"]]
    for column in columns:
        same = [c for c in columns if kind_of(c)[0] == column["source"] and c["look"] == column["look"]
                and c["place"] == column["place"]]  # fmt: skip
        if same[0] is not column:
            continue
        first = _("{method}, which knows no class").format(method=METHODS[column["method"]].label)
        title = first if METHODS[column["method"]].class_free else source_title(kind_of(column), len(same) > 1)
        mean, difference = interval(column["metrics"][name], name), column["difference"].get(name)
        if difference is None:
            base = kind_of(column) == (BASELINE, False) and len(columns) > 1
            yield [title, mean, "", _("the baseline") if base else "", ""]
            continue
        span = [(difference[end] / reach + 1) / 2 if reach else 0.5 for end in ("low", "value", "high")]
        cell = {"text": interval(difference, name, "+"), "span": span}
        share, word = column["shares"].get(name), outcome_word(column, name)
        shares = f"{share['better']:.0f} % / {share['worse']:.0f} %" if share else ""
        yield [title, mean, cell, word and _(word), shares]


def verdict(found: dict[str, Any], name: str) -> str:
    """One sentence on one metric, from the paired intervals alone."""
    groups = identical_groups(found["columns"])
    words: dict[Kind, list[str]] = {}
    for columns in (columns for methods, columns in groups):
        for column in columns:
            if word := outcome_word(column, name):
                words.setdefault(kind_of(column), []).append(word)
    metric = find(name)
    n = found["n"]
    start = _("On this image") if n == 1 else _("On these {n:,} images").format(n=n)
    if not words:
        alone = _("{start} {metric} stands alone: softmax, unclamped, was not measured beside it.")
        return alone.format(start=start, metric=_(metric.title))
    same = all(word == "no difference" for all_ in words.values() for word in all_)
    if same:
        none = _("no source and no clamp differs in {metric} from softmax unclamped beyond its interval")
        parts = [none.format(metric=_(metric.title))]
    else:
        outcomes: dict[str, list[Kind]] = {}
        for kind, all_ in words.items():
            outcomes.setdefault(_outcomes(all_), []).append(kind)
        one, several = _("{sources} is {how}"), _("{sources} are {how}")
        parts = [(one if len(kinds) == 1 else several).format(sources=_named(kinds), how=how)
                 for how, kinds in outcomes.items()]  # fmt: skip
        start = _("{start}, by {metric} and against softmax unclamped:").format(start=start, metric=_(metric.title))
    alike = [kind for kind in FROZEN if kind != (BASELINE, False) and _as_well(groups, kind, name)]
    if alike and (same or "better" in words.get(("sigmoid", True), [])):
        one, several = (
            _("{sources} does as well as the branch clamped"),
            _("{sources} do as well as the branch clamped"),
        )
        parts.append((one if len(alike) == 1 else several).format(sources=_named(alike)))
    return f"{start} {'; '.join(parts)}."


def _named(kinds: Sequence[Kind]) -> str:
    """Sources with their clamps, those of both clamps once."""
    both = [source for source in SHORT if {(source, False), (source, True)} <= set(kinds)]
    clamped, unclamped, either = _("{source} clamped"), _("{source} unclamped"), _("{source} (clamped or not)")
    words = ((either if source in both else clamped if clamp else unclamped).format(source=_(SHORT[source]))
             for source, clamp in kinds)  # fmt: skip
    return joined(dict.fromkeys(words))


def _outcomes(words: Sequence[str]) -> str:
    n, parts = len(words), []
    for word in ("better", "worse", "higher", "lower"):
        if count := words.count(word):
            how = _("{outcome} under every method") if count == n else _("{outcome} under {count} of {n} methods")
            parts.append(how.format(outcome=_(word), count=count, n=n) if n > 1 else _(word))
    return joined(parts) if parts else _("no different beyond the interval")


def _as_well(groups: Sequence[tuple[list[str], list[dict[str, Any]]]], kind: Kind, name: str) -> bool:
    """Whether under every method a column's difference lies in the clamped branch's interval, or on its good side."""
    higher, compared = find(name).higher_is_better, 0
    if higher is None:
        return False
    for columns in (columns for methods, columns in groups):
        by = {kind_of(c): c for c in columns}
        ours, theirs = by.get(("sigmoid", True)), by.get(kind)
        if not ours or not theirs or name not in ours["difference"]:
            continue
        difference = theirs["difference"].get(name, {"value": 0.0})["value"]
        if difference < ours["difference"][name]["low"] if higher else difference > ours["difference"][name]["high"]:
            return False
        compared += 1
    return compared > 0
