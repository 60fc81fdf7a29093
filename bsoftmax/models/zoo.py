"""Names a person may give for a model, and what each of them opens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import timm

from ..data.sets import ImageSet
from . import checkpoints
from .backbones import BACKBONES, WeightsError, is_trunk, weights_folder
from .checkpoints import FORMAT
from .dual_branch import DualBranch

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
DEFAULT = "wild20"


def bundled() -> dict[str, Path]:
    """The models that came with the program, by name.

    Weights of timm trunks may lie in the same folder, and a file that cannot be read hides no other.
    """
    return {path.stem: path for path in _files(CHECKPOINTS) if "." not in path.stem and _is(path, FORMAT)}


def local_trunks() -> list[str]:
    """The timm names whose weights lie in the local folder, of trunks without an entry of their own."""
    entries = {entry.timm for entry in BACKBONES.values()}
    stems = [path.stem for path in _files(weights_folder()) if _is(path, None)]
    return [stem for stem in stems if stem not in entries and is_trunk(stem)]


def unreadable() -> dict[str, str]:
    """The files beside the bundled models that cannot be read, and why."""
    out = {}
    for path in _files(CHECKPOINTS):
        try:
            checkpoints.format_of(path)
        except checkpoints.CheckpointError as error:
            out[path.name] = str(error)
    return out


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _is(path: Path, wanted: str | None) -> bool:
    """Whether a file names this format; None: that of weights which another program wrote."""
    try:
        return checkpoints.format_of(path) == wanted
    except checkpoints.CheckpointError:
        return False


def names() -> list[str]:
    """What can be opened by name: bundled models, trunks with an entry of their own, trunks whose weights are here."""
    complete = [name for name, entry in BACKBONES.items() if entry.complete]
    return list(dict.fromkeys([*bundled(), *complete, *local_trunks()]))


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
