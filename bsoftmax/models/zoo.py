"""Opens models by name: bundled models, checkpoints, and pretrained trunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from timm.data.imagenet_info import ImageNetInfo

from ..data.sets import ImageSet
from . import checkpoints
from .backbones import BACKBONES, WeightsError, is_trunk, weights_folder
from .checkpoints import FORMAT
from .dual_branch import DualBranch

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
DEFAULT = "wild20"


def bundled() -> dict[str, Path]:
    """Paths of the bundled models by name.

    Weights of timm trunks in the same folder and unreadable files are ignored.
    """
    return {path.stem: path for path in _files(CHECKPOINTS) if "." not in path.stem and _has_format(path, FORMAT)}


def local_trunks() -> list[str]:
    """timm names of the trunks with local weights that are not in BACKBONES."""
    entries = {entry.timm for entry in BACKBONES.values()}
    stems = [path.stem for path in _files(weights_folder()) if _has_format(path, None)]
    return [stem for stem in stems if stem not in entries and is_trunk(stem)]


def unreadable() -> dict[str, str]:
    """Unreadable files in the folder of bundled models, with the reason."""
    out = {}
    for path in _files(CHECKPOINTS):
        try:
            checkpoints.format_of(path)
        except checkpoints.CheckpointError as error:
            out[path.name] = str(error)
    return out


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _has_format(path: Path, wanted: str | None) -> bool:
    """Whether a file has this format; None: that of other programs."""
    try:
        return checkpoints.format_of(path) == wanted
    except checkpoints.CheckpointError:
        return False


def names() -> list[str]:
    """Names that can be opened: bundled models, complete trunks of BACKBONES, trunks with local weights."""
    complete = [name for name, entry in BACKBONES.items() if entry.complete]
    return list(dict.fromkeys([*bundled(), *complete, *local_trunks()]))


def open_model(name: str | Path = DEFAULT, weights: str | Path | None = "hub", unfilled: bool = False) -> DualBranch:
    """Opens a bundled model, a checkpoint file, or a pretrained trunk by its timm name (`weights`: a file for it).

    `unfilled`: also opens a trunk with layers without public weights, which are random and must be trained. Raises
    CheckpointError, WeightsError or ValueError, each with one sentence that says what to do.
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
    """The set with a model's labels; None when one of its classes is not among the model's.

    Folders of ImageNet-1K are named by WordNet IDs, whose order is that of the model's classes.
    """
    if len(classes) == len(images.classes) == 1000 and _is_imagenet(images.classes):
        return dataclasses.replace(images, classes=classes)
    number = {name: k for k, name in enumerate(classes)}
    if not set(images.classes) <= number.keys():
        return None
    labels = tuple(number[images.classes[k]] for k in images.labels)
    return dataclasses.replace(images, labels=labels, classes=classes)


def _is_imagenet(names: tuple[str, ...]) -> bool:
    info = ImageNetInfo()
    return all(name == info.index_to_label_name(k) for k, name in enumerate(names))
