"""Names a person may give for a model, and what each of them opens."""

from __future__ import annotations

from pathlib import Path

from .backbones import BACKBONES, WeightsError
from .model import DualBranch

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
DEFAULT = "wild20"


def bundled() -> dict[str, Path]:
    """The models that came with the program, by name."""
    return {path.stem: path for path in sorted(CHECKPOINTS.glob("*.safetensors")) if "." not in path.stem}


def names() -> list[str]:
    """What can be opened by name: the bundled models first, then the trunks with an entry of their own."""
    return [*bundled(), *(name for name, entry in BACKBONES.items() if entry.complete)]


def open_model(name: str | Path = DEFAULT, weights: str | Path | None = "hub") -> DualBranch:
    """Opens a bundled model, a checkpoint file, or a pretrained trunk by its timm name (`weights`: a file for it).

    Raises CheckpointError, WeightsError or ValueError, each with one sentence saying what to do.
    """
    path = bundled().get(str(name), Path(name))
    if path.suffix == ".safetensors" or path.is_file():
        return DualBranch.load(path)
    if str(name) in BACKBONES and not BACKBONES[str(name)].complete:
        raise WeightsError(f"{str(name)!r} has layers that no public weights fill: open a checkpoint trained from it.")
    return DualBranch.pretrained(str(name), weights)
