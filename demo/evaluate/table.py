"""The comparison table of an evaluation, its verdict in one sentence, and the names in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bsoftmax import METHODS, SOURCES
from bsoftmax.evaluation.column import BASELINE
from bsoftmax.evaluation.metrics import find

from ..components.report import Block, table

Kind = tuple[str, bool]  # source, clamp
ROUNDING = 1e-9  # sums in another order differ by less: an interval this near to 0 contains it
HEAD = ("map", "{}", "Against softmax, unclamped", "In words", "Images better / worse")
SHORT = {"softmax": "softmax", "sigmoid": "the branch", "log-odds": "log-odds", "centred": "centred rows"}


def source_title(kind: Kind, either: bool = False) -> str:
    """A source and its clamp as the title of a row."""
    return f"{SOURCES[kind[0]].title}, {'clamped or not' if either else 'clamped' if kind[1] else 'unclamped'}"


def column_title(key: str) -> str:
    """A column's key as a title."""
    method, source, clamp = key.split("/")
    return f"{METHODS[method].label}, {source_title((source, clamp == 'on'))}"


def kind_of(column: dict[str, Any]) -> Kind:
    """A column's source and clamp."""
    return column["source"], column["clamp"]


def identical_groups(columns: Sequence[dict[str, Any]]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """(methods, columns of the first) of each group of methods whose maps are all identical by construction."""
    by: dict[str, list[dict[str, Any]]] = {}
    for column in columns:
        by.setdefault(column["method"], []).append(column)
    found: dict[tuple, list[str]] = {}
    for method, of_method in by.items():
        found.setdefault(tuple((*kind_of(c), c["look"], c["place"]) for c in of_method), []).append(method)
    return [(methods, by[methods[0]]) for methods in found.values()]


def outcome_word(column: dict[str, Any], name: str) -> str:
    """Better, worse or no difference, by the paired interval of a column; empty where there is none."""
    difference = column["difference"].get(name)
    if difference is None:
        return ""
    if difference["low"] <= ROUNDING and difference["high"] >= -ROUNDING:
        return "no difference"
    higher, up = find(name).higher_is_better, difference["value"] > 0
    if higher is None:
        return "higher" if up else "lower"
    return "better" if up == higher else "worse"


def number(value: float, name: str, sign: str = "") -> str:
    """A metric's value, rounded for the table."""
    return f"{value:{sign}.{1 if find(name).unit == '%' else 3}f}"


def interval(cell: dict[str, float], name: str, sign: str = "") -> str:
    """Value [low, high]."""
    low, high = (number(cell[end], name, sign) for end in ("low", "high"))
    return f"{number(cell['value'], name, sign)} [{low}, {high}]"


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
            if outcome := outcome_word(column, name):
                words.setdefault(kind_of(column), []).append(outcome)
    metric = find(name)
    n = found["n"]
    start = "On this image" if n == 1 else f"On these {n:,} images"
    if not words:
        return f"{start} {metric.title} stands alone: softmax, unclamped, was not measured beside it."
    same = all(outcome == "no difference" for all_ in words.values() for outcome in all_)
    if same:
        parts = [f"no source and no clamp differs in {metric.title} from softmax unclamped beyond its interval"]
    else:
        outcomes: dict[str, list[Kind]] = {}
        for kind, all_ in words.items():
            outcomes.setdefault(_outcome(all_), []).append(kind)
        parts = [f"{_named(kinds)} {'is' if len(kinds) == 1 else 'are'} {how}" for how, kinds in outcomes.items()]
        start = f"{start}, by {metric.title} and against softmax unclamped:"
    controls = (("softmax", True), ("log-odds", False), ("log-odds", True), ("centred", True))
    alike = [kind for kind in controls if _as_well(groups, kind, name)]
    if alike and (same or "better" in words.get(("sigmoid", True), [])):
        parts.append(f"{_named(alike)} {'does' if len(alike) == 1 else 'do'} as well as the branch clamped")
    return f"{start} {'; '.join(parts)}."


def _named(kinds: Sequence[Kind]) -> str:
    """Sources with their clamps, those of both clamps once."""
    both = [source for source in SHORT if {(source, False), (source, True)} <= set(kinds)]
    words = [SHORT[source] if source in both else f"{SHORT[source]} {'clamped' if clamp else 'unclamped'}"
             for source, clamp in kinds]  # fmt: skip
    words = [f"{word} (clamped or not)" if word in SHORT.values() else word for word in dict.fromkeys(words)]
    return _joined(words)


def _outcome(words: Sequence[str]) -> str:
    n, parts = len(words), []
    for outcome in ("better", "worse", "higher", "lower"):
        if count := words.count(outcome):
            how = "every method" if count == n else f"{count} of {n} methods"
            parts.append(f"{outcome} under {how}" if n > 1 else outcome)
    return _joined(parts) if parts else "no different beyond the interval"


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


def _joined(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
