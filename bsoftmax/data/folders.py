"""Class folders, named after their classes, directly or below train, val and test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..images.read import SUFFIXES
from ..utils.text import printable, quoted, shortened
from .annotations import MASKS, may_have_annotations, read_annotations
from .file_tree import FileTree, Tick, readable
from .limits import Limits
from .sets import DataError, DataSet, ImageSet, Skipped

LONGEST_CLASS = 200  # characters of a class's name; of a longer one the middle is left out
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True)
class ReadOptions:
    """Limits, progress callback, and paths of images and boxes that lie outside the data set."""

    limits: Limits
    tick: Tick | None = None
    images: Path | None = None
    boxes: Path | None = None
    skipped: tuple[Skipped, ...] = ()  # while the zip was unpacked


class FoundImage(NamedTuple):
    """An image of a class folder: the names of the file and of the folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class ClassFolders:
    """The class folders of a data set, found by names only: for each split its folder and images."""

    tree: FileTree
    splits: dict[str, tuple[str, list[FoundImage]]]
    skipped: list[Skipped]


def unwrap(tree: FileTree, file: str = "") -> FileTree:
    """Skips outer folders that hold nothing but one folder of folders, at most down to the folder of `file`."""
    while True:
        folders, files = tree.listing()
        if file in files:
            return tree
        if len(folders) != 1 or any(_is_image(f) for f in files) or not tree.listing(folders[0])[0]:
            return tree
        tree = tree.below(folders[0])


def split_folders(folders: Sequence[str]) -> dict[str, str]:
    """Folder names by split (train, val, test); empty unless there are train and another one."""
    found = {key: name for key, names in SPLITS.items() for name in folders if name.lower() in names}
    return found if "train" in found and len(found) > 1 else {}


def find_class_folders(tree: FileTree, limits: Limits) -> ClassFolders:
    """Finds the class folders by names only, without opening files; images beside them are skipped with a reason.

    Raises DataError when there are no classes, too many, or too many images.
    """
    tree = unwrap(tree)
    folders, files = tree.listing()
    splits = split_folders(folders) or {"all": ""}
    skipped = [] if "all" in splits else [_beside(f) for f in folders if f not in (*splits.values(), MASKS)]
    skipped += [_beside(f) for f in files if _is_image(f)]
    found = {split: (at, _images(tree, at, skipped)) for split, at in splits.items()}
    images = [f for _, images in found.values() for f in images]
    names = {f.folder for f in images}
    if len(names) > limits.classes:
        raise DataError(
            f"Expected at most {limits.classes:,} class folders, found {len(names):,}: bring fewer classes, or use the "
            "command line."
        )
    if len(images) > limits.images:
        raise DataError(
            f"Expected at most {limits.images:,} images, found {len(images):,}: bring fewer, or use the command line."
        )
    if not images:
        _refuse_empty(tree)
    return ClassFolders(tree, found, skipped)


def _images(tree: FileTree, at: str, skipped: list[Skipped]) -> list[FoundImage]:
    folders, files = tree.listing(at)
    if at:
        skipped += [_beside(f"{at}/{f}") for f in files if _is_image(f)]
    elif MASKS in folders and set(tree.listing(MASKS)[0]) <= set(folders):
        folders = [f for f in folders if f != MASKS]
    found = []
    for folder in folders:
        start = f"{at}/{folder}" if at else folder
        for name in tree.walk(start):
            if _is_image(name):
                found.append(FoundImage(name, folder))
            else:
                skipped.append(Skipped(shortened(name), "it is not a picture"))
    return found


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _beside(name: str) -> Skipped:
    return Skipped(shortened(name), "it lies beside the class folders, not in one")


def _refuse_empty(tree: FileTree) -> None:
    folders, files = tree.listing()
    if any(_is_image(f) for f in files):
        raise DataError(
            "Expected a folder for each class, found pictures without one: put the pictures of each class in a folder "
            "named after it."
        )
    found = f"{len(folders)} folders and {len(files)} files" if folders or files else "nothing"
    raise DataError(
        f"Expected a folder of pictures for each class, found {found} and no pictures in folders: put the pictures of "
        "each class in a folder named after it."
    )


def read_folders(tree: FileTree, options: ReadOptions) -> DataSet:
    """Reads `<class>/**/<image>`, or the same below train/, val/ and test/, with annotations.

    Classes are the folder names, sorted, without those that have no readable image. Raises DataError when fewer than
    two remain, or a limit is exceeded.
    """
    found = find_class_folders(tree, options.limits)
    tree, images = found.tree, [f for _, images in found.splits.values() for f in images]
    annotated = may_have_annotations(tree, options.boxes)
    headers = sys.maxsize if annotated else options.limits.headers
    sizes, broken = readable(tree, [f.name for f in images], headers, options.tick)
    skipped = [*found.skipped, *broken]
    kept = {f.folder for f in images if f.name in sizes}
    skipped += [
        Skipped(shortened(f), "no picture in it can be read, so this class is left out")
        for f in sorted({f.folder for f in images} - kept)
    ]
    if len(kept) < options.limits.least_classes:
        _refuse_few(sorted(kept), [*options.skipped, *skipped])
    number = {folder: k for k, folder in enumerate(sorted(kept))}
    known = {name: size for name, size in sizes.items() if size}
    annotations = read_annotations(tree, known, options.boxes, skipped) if annotated else {}
    classes = distinct([shortened(folder, LONGEST_CLASS) for folder in number])
    splits = {}
    for split, (at, listed) in found.splits.items():
        valid = [f for f in listed if f.name in sizes]
        splits[split] = ImageSet(
            root=tree.root / at,
            paths=tuple(tree.existing(f.name) for f in valid),
            labels=tuple(number[f.folder] for f in valid),
            classes=classes,
            names=tuple(printable(f.name.removeprefix(f"{at}/" if at else "")) for f in valid),
            annotations=tuple(annotations[f.name] for f in valid) if annotations else (),
        )
    return DataSet("folders", {split: images for split, images in splits.items() if len(images)}, tuple(skipped))


def _refuse_few(kept: Sequence[str], skipped: Sequence[Skipped]) -> None:
    found = f"only the class {quoted(kept[0])}" if kept else "none"
    first = f" ({quoted(skipped[0].name)} was passed over: {skipped[0].reason[:150]})" if skipped else ""
    raise DataError(f"Expected at least two classes with pictures, found {found}{first}: put each class in a folder.")


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names made unique: repeated ones get a number."""
    used: dict[str, None] = {}
    for name in names:
        n, free = 1, name
        while free in used:
            n += 1
            free = f"{name} ({n})"
        used[free] = None
    return tuple(used)
