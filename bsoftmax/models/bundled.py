"""The checkpoints that come with the program."""

from __future__ import annotations

import json
from pathlib import Path

from . import checkpoints
from .checkpoints import FORMAT

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
BUNDLED = "bundled:"  # how `Spec.origin` names a trunk of theirs


def bundled() -> dict[str, Path]:
    """Paths of the bundled models by name.

    Weights of timm trunks in the same folder and unreadable files are ignored.
    """
    return {
        path.stem: path for path in safetensors_in(CHECKPOINTS) if "." not in path.stem and has_format(path, FORMAT)
    }


def breaking() -> dict[str, dict[str, float]]:
    """For each bundled model, the value of every slider of the Distort panel at which half its boxes break.

    Measured on validation images by `bsoftmax gauge`; see checkpoints/README.md.
    """
    path = CHECKPOINTS / "breaking.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def unreadable() -> dict[str, str]:
    """Unreadable files in the folder of bundled models, with the reason."""
    out = {}
    for path in safetensors_in(CHECKPOINTS):
        try:
            checkpoints.format_of(path)
        except checkpoints.CheckpointError as error:
            out[path.name] = str(error)
    return out


def safetensors_in(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def has_format(path: Path, wanted: str | None) -> bool:
    """Whether a file has this format; None: that of other programs."""
    try:
        return checkpoints.format_of(path) == wanted
    except checkpoints.CheckpointError:
        return False
