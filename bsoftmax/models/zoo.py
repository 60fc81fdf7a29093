"""Names a person may give for a model, and what each of them opens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import timm

from ..data.sets import ImageSet
from .backbones import BACKBONES, WeightsError
from .dual_branch import DualBranch

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
DEFAULT = "wild20"


def bundled() -> dict[str, Path]:
    """The models that came with the program, by name."""
    return {path.stem: path for path in sorted(CHECKPOINTS.glob("*.safetensors")) if "." not in path.stem}


def names() -> list[str]:
    """What can be opened by name: the bundled models first, then the trunks with an entry of their own."""
    return [*bundled(), *(name for name, entry in BACKBONES.items() if entry.complete)]


def open_model(name: str | Path = DEFAULT, weights: str | Path | None = "hub", unfilled: bool = False) -> DualBranch:
    """Opens a bundled model, a checkpoint file, or a pretrained trunk by its timm name (`weights`: a file for it).

    `unfilled`: also a trunk with layers that no public weights fill, which are fresh then and must be trained.

    Raises CheckpointError, WeightsError or ValueError, each with one sentence saying what to do.
    """
    path = bundled().get(str(name), Path(name))
    if path.suffix == ".safetensors" or path.is_file():
        return DualBranch.load(path)
    if not unfilled and str(name) in BACKBONES and not BACKBONES[str(name)].complete:
        raise WeightsError(
            f"{str(name)!r} has layers that no public weights fill: open a checkpoint trained from it, or train it "
            "with --stage1 finetune."
        )
    return DualBranch.pretrained(str(name), weights)


def matched(images: ImageSet, classes: tuple[str, ...]) -> ImageSet | None:
    """The set under a model's class numbers, where each of its classes is one of the model's; else None.

    Folders of ImageNet-1K are named by WordNet numbers, whose order is that of the thousand classes.
    """
    if len(classes) == len(images.classes) == 1000 and _is_imagenet(images.classes):
        return dataclasses.replace(images, classes=classes)
    number = {name: k for k, name in enumerate(classes)}
    if not set(images.classes) <= number.keys():
        return None
    labels = tuple(number[images.classes[k]] for k in images.labels)
    return dataclasses.replace(images, labels=labels, classes=classes)


def _is_imagenet(names: tuple[str, ...]) -> bool:
    info = timm.data.ImageNetInfo()
    return all(name == info.index_to_label_name(k) for k, name in enumerate(names))
