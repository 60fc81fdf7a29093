"""What a model file says of itself: how to build it again, and how its parts were made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from . import checkpoints
from .backbones import Preprocessing

LEAST_SIZE, MOST_SIZE = 8, 1024  # pixels
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Spec:
    """What a file must say so that the model can be built again, and what a reader should know of its making."""

    trunk: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    layer: str
    stride: int | None = None
    # "trunk" and "softmax": "hub", or "file" where they are inside
    origin: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # how each part was made: recipe, data, commands
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_metadata(cls, meta: dict[str, Any]) -> Spec:
        """Reads what `asdict` wrote. Raises CheckpointError when a field is missing or of another kind."""
        try:
            pre = meta["preprocessing"]
            preprocessing = Preprocessing(int(pre["size"]), tuple(pre["mean"]), tuple(pre["std"]))
            known = {f.name: meta[f.name] for f in dataclasses.fields(cls) if f.name in meta}
            known |= {"classes": tuple(map(str, meta["classes"])), "origin": dict(meta.get("origin", {}))}
            spec = cls(**known | {"preprocessing": preprocessing})
        except (KeyError, TypeError, ValueError) as error:
            raise checkpoints.CheckpointError(
                f"The checkpoint's description is incomplete ({error}): save it again."
            ) from error
        # before a network of that size is built
        if not (LEAST_SIZE <= preprocessing.size <= MOST_SIZE and 2 <= len(spec.classes) <= MOST_CLASSES):
            raise checkpoints.CheckpointError(
                f"The checkpoint asks for {len(spec.classes)} classes at {preprocessing.size} px: expected 2 to "
                f"{MOST_CLASSES:,} classes and {LEAST_SIZE} to {MOST_SIZE} px."
            )
        return spec
