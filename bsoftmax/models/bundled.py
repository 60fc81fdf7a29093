"""The checkpoints that come with the program."""

from __future__ import annotations

import json
from pathlib import Path

from . import checkpoints
from .backbones import weights_folder
from .checkpoints import FORMAT

PACKAGE = Path(__file__).resolve().parents[1]
BUNDLED = "bundled:"  # how `Spec.origin` names a trunk of theirs


def bundled_folder(package: Path) -> Path:
    """The folder of the bundled models: inside the package where it was installed, beside it in a source tree."""
    inside = package / "checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


CHECKPOINTS = bundled_folder(PACKAGE)


def bundled() -> dict[str, Path]:
    """Paths by name of the bundled models, and of checkpoints in the folder of local weights.

    Weights of timm trunks in the same folders and unreadable files are ignored.
    """
    found = (path for path in _candidates() if "." not in path.stem and has_format(path, FORMAT))
    return {path.stem: path for path in found}


def breaking() -> dict[str, dict[str, float]]:
    """For each bundled model, the value of every slider of the Distort panel at which half its boxes break.

    Measured on validation images by `bsoftmax gauge`; see checkpoints/README.md.
    """
    path = CHECKPOINTS / "breaking.json"
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def unreadable() -> dict[str, str]:
    """Unreadable files in these folders, with the reason."""
    out = {}
    for path in _candidates():
        try:
            checkpoints.format_of(path)
        except checkpoints.CheckpointError as error:
            out[path.name] = str(error)
    return out


def _candidates() -> list[Path]:
    """The files of both folders; a bundled one hides another of its name."""
    first = {path.name: path for path in safetensors_in(CHECKPOINTS)}
    return [*first.values(), *(path for path in safetensors_in(weights_folder()) if path.name not in first)]


def safetensors_in(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def has_format(path: Path, wanted: str | None) -> bool:
    """Whether a file has this format; None: that of other programs."""
    try:
        return checkpoints.format_of(path) == wanted
    except checkpoints.CheckpointError:
        return False
