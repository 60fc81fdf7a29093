"""Opens models by name: bundled models, checkpoints, and pretrained trunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..data.sets import ImageSet
from . import class_names
from .backbones import BACKBONES, WeightsError, is_trunk, weights_folder
from .bundled import BUNDLED, bundled, has_format, safetensors_in, unreadable
from .dual_branch import DualBranch

__all__ = ["DEFAULT", "bundled", "local_trunks", "matched", "names", "open_model", "unreadable"]

DEFAULT = "imagenet"


def local_trunks() -> list[str]:
    """timm names of the trunks with local weights that are not in BACKBONES."""
    entries = {entry.timm for entry in BACKBONES.values()}
    stems = [path.stem for path in safetensors_in(weights_folder()) if has_format(path, None)]
    return [stem for stem in stems if stem not in entries and is_trunk(stem)]


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
        model = DualBranch.load(path)
        if str(name) in bundled() and model.spec.origin.get("trunk", "file") == "file":
            model.spec.origin["trunk"] = f"{BUNDLED}{name}"  # a checkpoint of its heads alone can find it again
        return model
    if not unfilled and str(name) in BACKBONES and not BACKBONES[str(name)].complete:
        raise WeightsError(
            f"{str(name)!r} has layers that no public weights fill: open a checkpoint trained from it, or train it "
            "with --stage1 finetune."
        )
    return DualBranch.pretrained(str(name), weights)


def matched(images: ImageSet, classes: tuple[str, ...]) -> ImageSet | None:
    """The set with a model's labels; None when a class of one of its images is not among the model's.

    Names may differ in case, and in underscores for spaces; classes of ImageNet-1K may have any name of their WordNet
    synset, or its ID.
    """
    number = class_names.known_names(classes)
    found = [number.get(name, number.get(class_names.plain(name), -1)) for name in images.classes]
    labels = tuple(found[k] for k in images.labels)
    return None if -1 in labels else dataclasses.replace(images, labels=labels, classes=classes)
