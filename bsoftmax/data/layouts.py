"""The registry of directory layouts, and the functions that read and split any data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..utils.text import quoted
from .archives import unpack
from .file_tree import FileTree, Tick
from .folders import ReadOptions, find_class_folders, read_folders
from .hub import PREFIX, read_hub
from .imagenet import is_imagenet, read_imagenet
from .limits import UNLIMITED, Limits
from .official import is_cars, is_cub, read_cars, read_cub
from .sets import DataError, DataSet, ImageSet
from .wsol import is_wsol, read_wsol

__all__ = ["LAYOUTS", "DataSet", "Layout", "read_data", "train_val"]


@dataclass(frozen=True)
class Layout:
    """A directory layout: how it is detected and how it is read."""

    key: str
    title: str
    detect: Callable[[FileTree], bool]
    read: Callable[[FileTree, ReadOptions], DataSet]


LAYOUTS = {
    layout.key: layout
    for layout in (
        Layout("wsol", "the metadata of the WSOL benchmark (ImageNet, CUB, OpenImages-30K, ...)", is_wsol, read_wsol),
        Layout("cub", "CUB-200-2011 as its archive unpacks", is_cub, read_cub),
        Layout("cars", "Stanford Cars as its archives unpack", is_cars, read_cars),
        Layout("imagenet", "ImageNet-1K as on Kaggle, or as train/<wnid>/ and val/", is_imagenet, read_imagenet),
        Layout("folders", "class folders, plain or below train/, val/ and test/", lambda tree: True, read_folders),
    )
}


def read_data(
    source: str | Path,
    work: str | Path,
    limits: Limits | None = None,
    tick: Tick | None = None,
    images: str | Path | None = None,
    boxes: str | Path | None = None,
) -> DataSet:
    """Reads a folder or a zip in the first of LAYOUTS that fits, or "hf:owner/name[:config]" from the Hub.

    `work`: folder for unpacked zips. `limits`: UNLIMITED by default. `tick(done, total)`: progress callback. `images`:
    folder of the images, when only their lists are in `source`. `boxes`: a CSV or COCO file.
    Raises DataError (a ValueError) whose message says what was expected, what was found, what to do.
    """
    options = ReadOptions(limits or UNLIMITED, tick, Path(images) if images else None, Path(boxes) if boxes else None)
    if str(source).startswith(PREFIX):
        return read_hub(str(source), work, options)
    path = Path(source)
    if path.is_dir():
        return _read(FileTree(path.resolve()), options)
    if not path.is_file():
        raise DataError(f"There is no folder or zip {quoted(str(source))}: check the path.")
    tree, skipped = unpack(path, work, options.limits, tick, lambda names: _precheck(names, options.limits))
    data = _read(tree, replace(options, skipped=tuple(skipped)))
    return replace(data, skipped=(*skipped, *data.skipped))


def _layout(tree: FileTree) -> Layout:
    return next(layout for layout in LAYOUTS.values() if layout.detect(tree))


def _precheck(names: FileTree, limits: Limits) -> None:
    """Checks the limits of class folders by names only, before the zip is unpacked."""
    if _layout(names).key == "folders":
        find_class_folders(names, limits)


def _read(tree: FileTree, options: ReadOptions) -> DataSet:
    data = _layout(tree).read(tree, options)
    limits, found = options.limits, sum(map(len, data.splits.values()))
    if not found:
        raise DataError(f"Found no pictures in {quoted(tree.root.name)}: check that they lie where their list says.")
    if found > limits.images or len(data.classes) > limits.classes:
        raise DataError(
            f"Expected at most {limits.images:,} images in {limits.classes:,} classes, found {found:,} in "
            f"{len(data.classes):,}: bring fewer, or use the command line."
        )
    return data


def train_val(data: DataSet, share: float = 0.2, seed: int = 0) -> tuple[ImageSet, ImageSet, str]:
    """Images for training and for validation, and a sentence that describes the split.

    The data set's train and val (else test) where it has them; otherwise `share` of every class, at least one image
    and never all, drawn with `seed`. Raises DataError for a class of one image, or of val only.
    """
    if not 0 < share < 1:
        raise DataError(f"Expected a share for validation between 0 and 1, got {share}.")
    val_key = next((key for key in ("val", "test") if key in data.splits), None)
    if "train" in data.splits and val_key:
        return _own_split(data.splits["train"], data.splits[val_key], val_key)
    if len(data.splits) > 1:
        raise DataError(f"Expected images to train on, found only the splits {', '.join(data.splits)}: add train.")
    images = next(iter(data.splits.values()))
    train, val = _random_split(images, share, seed)
    return (
        images.subset(train),
        images.subset(val),
        f"{len(train):,} images to train on and {len(val):,} to validate with, drawn class by class (seed {seed}).",
    )


def _own_split(train: ImageSet, val: ImageSet, key: str) -> tuple[ImageSet, ImageSet, str]:
    train_counts, val_counts = train.counts(), val.counts()
    untrained = [name for name, a, b in zip(train.classes, train_counts, val_counts) if b and not a]
    if untrained:
        raise DataError(
            f"{key} holds classes of which train has no image, the first is {quoted(untrained[0])}: add images to "
            f"train, or take the class out of {key}."
        )
    absent = [name for name, a, b in zip(train.classes, train_counts, val_counts) if a and not b]
    some = ", ".join(map(quoted, absent[:3])) + (", ..." if len(absent) > 3 else "")
    note = f"; {len(absent)} classes have no image in {key}: {some}" if absent else ""
    return train, val, f"The data's own split: {len(train):,} images in train, {len(val):,} in {key}{note}."


def _random_split(images: ImageSet, share: float, seed: int) -> tuple[list[int], list[int]]:
    labels, rng = np.asarray(images.labels), np.random.default_rng(seed)
    val: list[int] = []
    for k, name in enumerate(images.classes):
        index = np.flatnonzero(labels == k)
        if len(index) == 1:
            raise DataError(
                f"The class {quoted(name)} has one image, but needs one to train on and one to validate with: add "
                "images, or take the class out."
            )
        if len(index):
            count = min(max(round(share * len(index)), 1), len(index) - 1)
            val += rng.permutation(index)[:count].tolist()
    chosen = set(val)
    return [n for n in range(len(labels)) if n not in chosen], sorted(val)
