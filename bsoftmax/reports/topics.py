"""What an evaluation asks, by which few metrics it is answered first, and which methods are one and the same map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..utils.language import gettext as _
from .text import Results

Kind = tuple[str, bool]  # source and clamp
Columns = list[dict[str, Any]]
SHOWN = 2  # metrics of a topic that stand in its table


@dataclass(frozen=True)
class Topic:
    """A group of metrics: what it asks, and those that answer it, the first in words."""

    group: str  # as in `measure.GROUPS`
    title: str
    asks: str
    metrics: tuple[str, ...]

    def measured(self, results: Results) -> list[str]:
        """Its first metrics of those that were measured."""
        found = {name for column in results["columns"] for name in column["metrics"]}
        return [name for name in self.metrics if name in found][:SHOWN]


TOPICS = (
    Topic("localization", "Places", "Do the maps find the object?", ("gt_loc", "max_box_acc_v2", "px_ap")),
    Topic("fidelity", "Fidelity", "Do the maps show what the answer depends on?", ("average_drop", "adcc")),
    Topic("curves", "Curves", "Do the maps rank the pixels as the answer does?", ("deletion", "insertion")),
)
MEANING = {
    "gt_loc": "the share of images on which the box around the map's strong part fits the object",
    "max_box_acc_v2": "the share of boxes that fit, at each map's best threshold, averaged over three degrees of fit",
    "px_ap": "how well the map separates the object's pixels from the rest",
    "average_drop": "the share of the classifier's confidence that is lost when it sees only what the map shows",
    "adcc": "one number for confidence kept, maps that stay the same, and maps that show little",
    "deletion": "the confidence left while the pixels that the map ranks first are taken away",
    "insertion": "the confidence reached while the pixels that the map ranks first are put back",
}


def topics(results: Results) -> list[tuple[Topic, list[str]]]:
    """The topics of which something was measured, each with the metrics of its table."""
    return [(topic, names) for topic in TOPICS if (names := topic.measured(results))]


def kind_of(column: dict[str, Any]) -> Kind:
    """A column's source and clamp."""
    return column["source"], column["clamp"]


def kinds(columns: Sequence[dict[str, Any]]) -> list[Kind]:
    """The sources and clamps of some columns, in the order of the registry."""
    found = {kind_of(c) for c in columns if not METHODS[c["method"]].class_free}
    return sorted(found, key=lambda kind: (list(SOURCES).index(kind[0]), kind[1]))


def identical_groups(columns: Sequence[dict[str, Any]]) -> list[tuple[list[str], Columns]]:
    """(methods, columns of the first) of each group of methods whose maps are all identical by construction."""
    by: dict[str, Columns] = {}
    for column in columns:
        by.setdefault(column["method"], []).append(column)
    found: dict[tuple[Any, ...], list[str]] = {}
    for method, of_method in by.items():
        found.setdefault(tuple((*kind_of(c), c["look"], c["place"]) for c in of_method), []).append(method)
    return [(methods, by[methods[0]]) for methods in found.values()]


def folded(columns: Sequence[dict[str, Any]]) -> tuple[list[tuple[list[str], Columns]], list[str]]:
    """The groups of which some map is in no other, and a sentence on each of the rest."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    kept, notes = [], []
    for methods, mine in identical_groups(columns):
        maps = [(c["look"], c["place"]) for c in mine]
        if all(key in seen for key in maps):
            notes.append(_repeats(methods, [seen[key] for key in maps]))
        else:
            kept.append((methods, mine))
        for key, column in zip(maps, mine):
            seen.setdefault(key, column)
    return kept, notes


def _repeats(methods: Sequence[str], equal: Columns) -> str:
    label = " = ".join(METHODS[method].label for method in methods)
    of = {METHODS[column["method"]].label for column in equal}
    if len(of) == 1 and all(column["clamp"] for column in equal):
        return _("{method}, clamped or not, is {other} clamped.").format(method=label, other=of.pop())
    return _("Every map of {method} is one of those above.").format(method=label)
