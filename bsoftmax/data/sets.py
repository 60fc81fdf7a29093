"""Sets of images on disk: class folders in, lists of (path, label) and square uint8 tensors out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..images.read import SUFFIXES


class DataError(ValueError):
    """A data set that cannot be used; the message says what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Annotation:
    """Where the object is: `size` (w, h) of the stored image and, in its pixels, inclusive boxes, or masks."""

    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    masks: tuple[Path, ...] = ()  # pictures whose pixels above zero are the object
    ignore: Path | None = None  # a picture whose pixels above zero count neither way


class Skipped(NamedTuple):
    """A file that was passed over, and why, in words for the person who brought it."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Images of one split: `paths[n]` shows class `classes[labels[n]]`; `root` is what paths are named from.

    `names[n]` is what lists and fingerprints call an image: by default its path below `root`. `truths[n]` is what is
    known of places in it; empty where nothing is.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    annotations: tuple[Annotation, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, n: int) -> str:
        """What image n is called."""
        return self.names[n] if self.names else self.paths[n].relative_to(self.root).as_posix()

    def counts(self) -> list[int]:
        """Images per class, in the order of `classes`."""
        return np.bincount(np.asarray(self.labels, dtype=np.int64), minlength=len(self.classes)).tolist()

    def fingerprint(self) -> str:
        """SHA-256 over the sorted list of 'name <tab> class name': which images a number was measured on."""
        lines = (f"{self.name(n)}\t{self.classes[k]}" for n, k in enumerate(self.labels))
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    def subset(self, index: Sequence[int]) -> ImageSet:
        """The images at these places, in this order, with all classes."""
        pick = [tuple(values[n] for n in index) if values else () for values in (self.names, self.annotations)]
        paths, labels = ([values[n] for n in index] for values in (self.paths, self.labels))
        return ImageSet(self.root, tuple(paths), tuple(labels), self.classes, *pick)


@dataclass(frozen=True)
class DataSet:
    """What a source holds: its splits under the names all, train, val and test, which share one list of classes."""

    layout: str
    splits: dict[str, ImageSet]
    skipped: tuple[Skipped, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return next(iter(self.splits.values())).classes


def read_class_folders(root: str | Path) -> ImageSet:
    """Reads `root/<class>/**/<image>`; classes are the folder names, sorted; hidden files are passed over.

    Raises DataError when there is no such folder, fewer than two classes, or a class without images.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"Expected a folder of class folders, but there is no folder {str(root)!r}.")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    if len(folders) < 2:
        raise DataError(
            f"Expected at least two class folders in {str(root)!r}, found {len(folders)}: "
            "put each class in a folder of its own."
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        if not files:
            raise DataError(f"The class folder {folder.name!r} holds no images: fill it or remove it.")
        paths += files
        labels += [label] * len(files)
    return ImageSet(root, tuple(paths), tuple(labels), tuple(p.name for p in folders))


def read_splits(root: str | Path) -> tuple[ImageSet, ImageSet]:
    """Reads `root/train` and `root/val` as class folders that name the same classes.

    Raises DataError when a split is missing or the two do not have the same classes.
    """
    train, val = (read_class_folders(Path(root) / split) for split in ("train", "val"))
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise DataError(
            f"train and val must hold the same classes; these are only in one of them: {', '.join(odd[:5])}."
        )
    return train, val
