"""What makes the difference: one thing changed at a time, paired over the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .columns import Column

# The question, then (source, clamp) of the one column and of the other it is taken from, under one method.
CONTRASTS: dict[str, tuple[tuple[str, bool], tuple[str, bool]]] = {
    "the paper's step: branch clamped, softmax not": (("sigmoid", True), ("softmax", False)),
    "the clamp alone: softmax clamped, softmax not": (("softmax", True), ("softmax", False)),
    "the training alone: branch, softmax, neither clamped": (("sigmoid", False), ("softmax", False)),
    "the training alone: branch, softmax, both clamped": (("sigmoid", True), ("softmax", True)),
    "no training: log-odds clamped, softmax not": (("log-odds", True), ("softmax", False)),
    "branch against log-odds, both clamped": (("sigmoid", True), ("log-odds", True)),
}


def contrasts(
    methods: Sequence[str], difference: Callable[[Column, Column], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """Every question of every method that both columns can answer; `difference(a, b)`: a - b by metric, or None."""
    out = []
    for method in methods:
        for question, (one, other) in CONTRASTS.items():
            a, b = Column(method, *one), Column(method, *other)
            if found := difference(a, b):
                out.append({"method": method, "question": question, "of": [a.key, b.key], "difference": found})
    return out


def verdict(cell: Mapping[str, float], higher_is_better: bool) -> str:
    """Says "better", "worse" or "no difference": whether the paired 95 % interval of a difference leaves out 0."""
    if cell["low"] <= 0 <= cell["high"]:
        return "no difference"
    return "better" if (cell["value"] > 0) == higher_is_better else "worse"
