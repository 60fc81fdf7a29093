"""Compares the tensors that a checkpoint's header lists with those its network needs, before any of them is made."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..utils.text import quoted
from .checkpoints import CheckpointError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

HEADS = ("softmax", "sigmoid")
MOST_PARAMETERS = 3e9  # of a network; the largest of timm's has 2.5e9


def check_classes(found: Shapes, classes: int, name: str) -> None:
    """Raises CheckpointError when a head that the file holds has no last layer for so many classes."""
    for head in HEADS:
        rows = {shape[0] for key, shape in found.items() if key.startswith(f"{head}.") and shape}
        if rows and classes not in rows:
            raise CheckpointError(
                f"{quoted(name)} names {classes:,} classes, and no layer of its {head} head has as many rows: save it "
                "again."
            )


def check_size(needed: Shapes, most: float, trunk: str) -> None:
    """Raises CheckpointError for a network of more than `most` parameters."""
    count = sum(map(math.prod, needed.values()))
    if count > most:
        raise CheckpointError(
            f"{quoted(trunk)} with these classes has {count / 1e6:,.0f} million parameters, and at most "
            f"{most / 1e6:,.0f} million can be used here: choose a smaller trunk or fewer classes."
        )


def check_fit(needed: Shapes, found: Shapes, name: str, trunk: str) -> None:
    """Raises CheckpointError when the names or the shapes differ; `needed`: of the tensors that the file must hold."""
    if needed.keys() != found.keys():
        missing, extra = len(needed.keys() - found.keys()), len(found.keys() - needed.keys())
        raise CheckpointError(
            f"{quoted(name)} does not fit {quoted(trunk)}: {missing} tensors missing, {extra} not expected."
        )
    for key, shape in needed.items():
        if shape != found[key]:
            raise CheckpointError(
                f"{quoted(name)} does not fit {quoted(trunk)}: {key} has the shape {found[key]}, expected {shape}."
            )
