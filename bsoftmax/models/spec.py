"""The metadata of a checkpoint: how to rebuild the model, and how its parts were trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from . import checkpoints
from .backbones import Preprocessing

MIN_SIZE, MAX_SIZE = 8, 1024  # pixels
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Spec:
    """What is needed to rebuild a model, and how its parts were trained."""

    trunk: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    layer: str
    stride: int | None = None
    # of "trunk" and "softmax": "hub", or "file" when the checkpoint contains them
    origin: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # of each part: recipe, data, command
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_metadata(cls, meta: dict[str, Any]) -> Spec:
        """Inverse of `asdict`. Raises CheckpointError when a field is missing or invalid."""
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
        # checked before a network of that size is built
        if not (MIN_SIZE <= preprocessing.size <= MAX_SIZE and 2 <= len(spec.classes) <= MAX_CLASSES):
            raise checkpoints.CheckpointError(
                f"The checkpoint asks for {len(spec.classes)} classes at {preprocessing.size} px: expected 2 to "
                f"{MAX_CLASSES:,} classes and {MIN_SIZE} to {MAX_SIZE} px."
            )
        return spec
