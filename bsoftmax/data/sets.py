"""The types of a data set (ImageSet, DataSet, Annotation, Skipped), and a strict reader of class folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..images.read import SUFFIXES
from ..utils.text import printable, quoted


class DataError(ValueError):
    """A data set that cannot be used; the message says what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Annotation:
    """Object positions: `size` (w, h) of the image and, in its pixels, inclusive boxes, or masks."""

    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    masks: tuple[Path, ...] = ()  # image files whose pixels above zero are the object
    ignore: Path | None = None  # an image file whose pixels above zero are not evaluated


class Skipped(NamedTuple):
    """A file that was skipped, and the reason, for users."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Images of one split: image n is `paths[n]`, of class `classes[labels[n]]`.

    `names[n]`, in lists and fingerprints, is by default the path relative to `root`. `annotations` is empty, or has
    one for each image.
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
        """The name of image n."""
        return self.names[n] if self.names else self.paths[n].relative_to(self.root).as_posix()

    def counts(self) -> list[int]:
        """Images per class, in the order of `classes`."""
        counts: list[int] = np.bincount(np.asarray(self.labels, np.int64), minlength=len(self.classes)).tolist()
        return counts

    def fingerprint(self) -> str:
        """SHA-256 over the sorted lines 'name <tab> class name': identifies the images a result was measured on."""
        lines = (f"{self.name(n)}\t{self.classes[k]}" for n, k in enumerate(self.labels))
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    def subset(self, index: Sequence[int]) -> ImageSet:
        """The images with these indices, in this order, with all classes."""
        paths, labels = tuple(self.paths[n] for n in index), tuple(self.labels[n] for n in index)
        names = tuple(self.names[n] for n in index) if self.names else ()
        annotations = tuple(self.annotations[n] for n in index) if self.annotations else ()
        return ImageSet(self.root, paths, labels, self.classes, names, annotations)


@dataclass(frozen=True)
class DataSet:
    """The splits of a data set by name (all, train, val, test), with one list of classes."""

    layout: str
    splits: dict[str, ImageSet]
    skipped: tuple[Skipped, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return next(iter(self.splits.values())).classes


def read_class_folders(root: str | Path) -> ImageSet:
    """Reads `root/<class>/**/<image>`; classes are the folder names, sorted; hidden files are skipped.

    Raises DataError when there is no such folder, fewer than two classes, or a class without images.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"Expected a folder of class folders, but there is no folder {quoted(str(root))}.")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    if len(folders) < 2:
        raise DataError(
            f"Expected at least two class folders in {quoted(str(root))}, found {len(folders)}: "
            "put each class in a folder of its own."
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        if not files:
            raise DataError(f"The class folder {quoted(folder.name)} holds no images: fill it or remove it.")
        paths += files
        labels += [label] * len(files)
    return ImageSet(root, tuple(paths), tuple(labels), tuple(printable(p.name) for p in folders))


def read_splits(root: str | Path) -> tuple[ImageSet, ImageSet]:
    """Reads the class folders `root/train` and `root/val`.

    Raises DataError when a split is missing or their classes differ.
    """
    train, val = (read_class_folders(Path(root) / split) for split in ("train", "val"))
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise DataError(
            f"train and val must hold the same classes; these are only in one of them: {', '.join(odd[:5])}."
        )
    return train, val
