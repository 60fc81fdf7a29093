"""What is compared: columns of method, source and clamp, and which of them are one map by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import cams
from .model import DualBranch
from .sources import SOURCES
from .sources import find as find_source

CLAMPS = ("off", "on", "paper")
BASELINE = "softmax"
POSITIVE = ("layercam", "scorecam")  # their weights are never negative: the clamp changes nothing


@dataclass(frozen=True)
class Column:
    """One way to a map: a CAM method, the source it explains, and whether negative weights are clamped away."""

    method: str
    source: str
    clamp: bool

    @property
    def key(self) -> str:
        """What files call it: method/source/on or off."""
        return f"{self.method}/{self.source}/{'on' if self.clamp else 'off'}"

    @property
    def baseline(self) -> Column:
        """What it is compared with: the same method on the softmax head's logit, unclamped."""
        return Column(self.method, BASELINE, False)


def quick(model: DualBranch) -> tuple[str, ...]:
    """The methods that a model's head allows and that do not run the trunk, or a large head, once a channel."""
    return tuple(m for m in cams.METHODS if not cams.unavailable(model, m) and not cams.takes_seconds(model, m))


def columns(
    model: DualBranch,
    methods: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    clamps: Sequence[str] = ("off", "on"),
) -> tuple[Column, ...]:
    """Every method x source x clamp once; a method that knows no class is one column, whatever source and clamp.

    Methods default to the quick ones, sources to all the model has; the clamp "paper" is each source's own. Raises
    ValueError for an unknown name, a source without its branch, or a method the head does not allow.
    """
    methods = tuple(methods or quick(model))
    has = [key for key, source in SOURCES.items() if source.branch == "softmax" or model.sigmoid is not None]
    sources = tuple(sources or has)
    _check(model, methods, sources, clamps)
    found: dict[Column, None] = {}
    for method in methods:
        if cams.METHODS[method].class_free:
            found[Column(method, BASELINE if BASELINE in sources else sources[0], False)] = None
            continue
        for source in sources:
            for clamp in clamps:
                found[Column(method, source, SOURCES[source].clamp if clamp == "paper" else clamp == "on")] = None
    return tuple(found)


def _check(model: DualBranch, methods: Sequence[str], sources: Sequence[str], clamps: Sequence[str]) -> None:
    for method in methods:
        cams.find(method)
        if reason := cams.unavailable(model, method):
            raise ValueError(reason)
    for source in sources:
        model.classifier(find_source(source).branch)
    if unknown := [clamp for clamp in clamps if clamp not in CLAMPS]:
        raise ValueError(f"There is no clamp {unknown[0]!r}; choose among {', '.join(CLAMPS)}.")
    if not clamps:
        raise ValueError(f"Expected at least one clamp, got none; choose among {', '.join(CLAMPS)}.")


def look(model: DualBranch, column: Column) -> Column:
    """The column whose map this one's is, up to a positive factor, whatever the image: measured once for all.

    It need not be among the columns asked for.
    """
    if cams.METHODS[column.method].class_free:
        return Column(column.method, column.source, False)
    clamp = column.clamp or column.method in POSITIVE
    group = next((g for g in cams.identical_by_construction(model, column.source, clamp) if column.method in g), None)
    return Column(min(group) if group else column.method, column.source, clamp)
