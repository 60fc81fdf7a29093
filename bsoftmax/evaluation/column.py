"""What is compared: columns of method, source and clamp, and contrasts, which change one of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from ..cams import methods as cam_methods
from ..cams.sources import SOURCES
from ..cams.sources import find as find_source
from ..models.dual_branch import DualBranch
from ..utils.language import gettext as _
from ..utils.text import quoted
from .statistics import ALPHA

CLAMPS = ("off", "on", "paper")
BASELINE = "softmax"
Kind = tuple[str, bool]  # source and clamp

# A question, and the two kinds of columns of one method whose difference (first - second) answers it.
CONTRASTS: dict[str, tuple[Kind, Kind]] = {
    "the paper's step: branch clamped, softmax not": (("sigmoid", True), ("softmax", False)),
    "the clamp alone: softmax clamped, softmax not": (("softmax", True), ("softmax", False)),
    "the training alone: branch, softmax, neither clamped": (("sigmoid", False), ("softmax", False)),
    "the training alone: branch, softmax, both clamped": (("sigmoid", True), ("softmax", True)),
    "no training: log-odds clamped, softmax not": (("log-odds", True), ("softmax", False)),
    "no training: centred rows clamped, softmax not": (("centred", True), ("softmax", False)),
    "branch against log-odds, both clamped": (("sigmoid", True), ("log-odds", True)),
    "branch against centred rows, both clamped": (("sigmoid", True), ("centred", True)),
}


@dataclass(frozen=True)
class Column:
    """A kind of map: a CAM method, the source it explains, and whether negative weights are clamped to 0.

    `shift`: the key of a shift of the source's rows, "" for the head as it is.
    """

    method: str
    source: str
    clamp: bool
    shift: str = ""

    @property
    def key(self) -> str:
        """Its name in files: method/source/on or off, and the shift where there is one."""
        parts = (self.method, self.source, "on" if self.clamp else "off", self.shift)
        return "/".join(part for part in parts if part)

    @property
    def baseline(self) -> Column:
        """The same method on the softmax head's logit, unclamped."""
        return Column(self.method, BASELINE, False)


def columns(
    model: DualBranch, methods: Sequence[str] | None = None, sources: Sequence[str] | None = None,
    clamps: Sequence[str] = ("off", "on"),
) -> tuple[Column, ...]:  # fmt: skip
    """Every method x source x clamp once; a class-agnostic method is one column, and one without weights has no clamp.

    Methods default to the CAM methods that are not slow, sources to all the model has; the clamp "paper" is each
    source's own. Raises ValueError for an unknown name, a source without its branch, or a method that is unavailable.
    """
    methods = tuple(methods or _fast_methods(model))
    available = [key for key, source in SOURCES.items() if source.branch == "softmax" or model.sigmoid is not None]
    sources = tuple(sources or available)
    _check(model, methods, sources, clamps)
    found: dict[Column, None] = {}
    for method in methods:
        if cam_methods.METHODS[method].class_free:
            found[Column(method, BASELINE if BASELINE in sources else sources[0], False)] = None
            continue
        for source in sources:
            for clamp in clamps if cam_methods.METHODS[method].clamps else ("off",):
                found[Column(method, source, SOURCES[source].clamp if clamp == "paper" else clamp == "on")] = None
    return tuple(found)


def _fast_methods(model: DualBranch) -> tuple[str, ...]:
    """The methods that a model allows and that do not run the trunk again, or a large head once a channel."""
    known = (method for method, entry in cam_methods.METHODS.items() if not entry.more)
    allowed = (method for method in known if not cam_methods.unavailable(model, method))
    return tuple(method for method in allowed if not cam_methods.takes_seconds(model, method))


def _check(model: DualBranch, methods: Sequence[str], sources: Sequence[str], clamps: Sequence[str]) -> None:
    for method in methods:
        cam_methods.find(method)
        if reason := cam_methods.unavailable(model, method):
            raise ValueError(reason)
    for source in sources:
        model.classifier(find_source(source).branch)
    if unknown := [clamp for clamp in clamps if clamp not in CLAMPS]:
        raise ValueError(f"There is no clamp {quoted(unknown[0])}; choose among {', '.join(CLAMPS)}.")
    if not clamps:
        raise ValueError(f"Expected at least one clamp, got none; choose among {', '.join(CLAMPS)}.")


def representative(model: DualBranch, column: Column) -> Column:
    """The column that stands for all whose maps are equal by construction, up to a positive factor: measured once.

    It need not be among the columns requested.
    """
    if not cam_methods.METHODS[column.method].clamps:
        return replace(column, clamp=False)
    clamp = column.clamp or cam_methods.METHODS[column.method].nonnegative
    groups = cam_methods.identical_by_construction(model, column.source, clamp)
    group = next((group for group in groups if column.method in group), None)
    return replace(column, method=min(group) if group else column.method, clamp=clamp)


def contrasts(
    methods: Sequence[str], difference: Callable[[Column, Column], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """CONTRASTS for every method that has both columns; `difference(a, b)`: a - b by metric, or None."""
    out = []
    for method in methods:
        for question, kinds in CONTRASTS.items():
            a, b = (Column(method, *kind) for kind in kinds)
            if found := difference(a, b):
                out.append({"method": method, "question": question, "of": [a.key, b.key], "difference": found})
    return out


def differs(difference: Mapping[str, float]) -> bool:
    """Whether a difference of a result is called one: its `p_holm` is below 5 %.

    Where it has none (its metric has no better direction, its file is of an older version): its interval leaves out 0.
    """
    if "p_holm" in difference:
        return difference["p_holm"] < ALPHA
    return not difference["low"] <= 0 <= difference["high"]


def best(
    columns: Sequence[Column], difference: Callable[[Column, Column], dict[str, Any] | None],
    higher_is_better: Callable[[str], bool | None],
) -> dict[str, list[str]]:  # fmt: skip
    """The metrics by which a column is better than every other map of its method, by the paired interval of each.

    `difference(a, b)`: a - b by metric, or None where both are one map. Returns {key of a column: metrics}.
    """
    by_method: dict[str, list[Column]] = {}
    for column in columns:
        by_method.setdefault(column.method, []).append(column)
    beaten: dict[Column, list[set[str]]] = {column: [] for column in columns}  # by which metrics, for every other map
    for a, b in (pair for mine in by_method.values() for pair in combinations(mine, 2)):
        if found := difference(a, b):
            said = {name: verdict(cell, bool(higher_is_better(name))) for name, cell in found.items()
                    if higher_is_better(name) is not None}  # fmt: skip
            beaten[a].append({name for name, word in said.items() if word == "better"})
            beaten[b].append({name for name, word in said.items() if word == "worse"})
    return {column.key: sorted(set.intersection(*sets)) for column, sets in beaten.items() if sets}


def verdict(difference: Mapping[str, float], higher_is_better: bool) -> str:
    """Whether the first is "better" or "worse"; "no difference" where it does not differ by `differs`."""
    if not differs(difference):
        return "no difference"
    return "better" if (difference["value"] > 0) == higher_is_better else "worse"


def multiplicity(families: Sequence[Mapping[str, Any]]) -> str:
    """What the number of comparisons means, in two sentences, for the page and the docs: of a result's "families"."""
    comparisons, alone, together = (sum(f[key] for f in families) for key in ("comparisons", "alone", "together"))
    if not comparisons:
        return _("Nothing is compared here.")
    words = _(
        "Every 95 % interval is right by itself: of the {n:,} differences here about {chance:.0f} would leave out 0 by "
        "chance if nothing differed, and {alone:,} do. Better and worse are said only of the {together:,} that also "
        "pass Holm's correction over all methods and metrics of their question, under which the chance of even one "
        "false one in a question is at most 5 %."
    )
    return words.format(n=comparisons, chance=ALPHA * comparisons, alone=alone, together=together)
