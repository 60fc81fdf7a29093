"""Class folders: the name of the folder is the class, with or without train, val and test around them."""

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

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True)
class ReadOptions:
    """How a source is to be read: the limits, progress, and where its pictures and boxes lie if not where they do."""

    limits: Limits
    tick: Tick | None = None
    images: Path | None = None
    boxes: Path | None = None
    before: tuple[Skipped, ...] = ()  # what was passed over while the source was unpacked


class FoundImage(NamedTuple):
    """A picture of a class folder: its name in the tree, and the folder's."""

    name: str
    folder: str


@dataclass(frozen=True)
class ClassFolders:
    """What the names alone say: the tree without folders around everything, and by split its folder and pictures."""

    tree: FileTree
    splits: dict[str, tuple[str, list[FoundImage]]]
    skipped: list[Skipped]


def unwrap(tree: FileTree, file: str = "") -> FileTree:
    """The tree below the folders that hold nothing but one folder of folders, at most down to this file."""
    while True:
        folders, files = tree.listing()
        if file in files:
            return tree
        if len(folders) != 1 or any(_is_picture(f) for f in files) or not tree.listing(folders[0])[0]:
            return tree
        tree = tree.below(folders[0])


def split_folders(folders: Sequence[str]) -> dict[str, str]:
    """Of folder names those of train, val and test, under these names; empty without train and one of the others."""
    found = {key: name for key, names in SPLITS.items() for name in folders if name.lower() in names}
    return found if "train" in found and len(found) > 1 else {}


def find_class_folders(tree: FileTree, limits: Limits) -> ClassFolders:
    """Reads the names of class folders and nothing else; what lies beside them is passed over with a reason.

    Raises DataError when there are no classes, too many, or too many images.
    """
    tree = unwrap(tree)
    folders, files = tree.listing()
    splits = split_folders(folders) or {"all": ""}
    skipped = [] if "all" in splits else [_beside(f) for f in folders if f not in (*splits.values(), MASKS)]
    skipped += [_beside(f) for f in files if _is_picture(f)]
    found = {split: (at, _pictures(tree, at, skipped)) for split, at in splits.items()}
    everything = [f for _, pictures in found.values() for f in pictures]
    names = {f.folder for f in everything}
    if len(names) > limits.classes:
        raise DataError(
            f"Expected at most {limits.classes:,} class folders, found {len(names):,}: bring fewer classes, or use the "
            "command line."
        )
    if len(everything) > limits.images:
        raise DataError(
            f"Expected at most {limits.images:,} images, found {len(everything):,}: bring fewer, or use the command "
            "line."
        )
    if not everything:
        _refuse_empty(tree)
    return ClassFolders(tree, found, skipped)


def _pictures(tree: FileTree, at: str, skipped: list[Skipped]) -> list[FoundImage]:
    folders, files = tree.listing(at)
    if at:
        skipped += [_beside(f"{at}/{f}") for f in files if _is_picture(f)]
    elif MASKS in folders and set(tree.listing(MASKS)[0]) <= set(folders):
        folders = [f for f in folders if f != MASKS]
    found = []
    for folder in folders:
        start = f"{at}/{folder}" if at else folder
        for name in tree.walk(start):
            if _is_picture(name):
                found.append(FoundImage(name, folder))
            else:
                skipped.append(Skipped(shortened(name), "it is not a picture"))
    return found


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _beside(name: str) -> Skipped:
    return Skipped(shortened(name), "it lies beside the class folders, not in one")


def _refuse_empty(tree: FileTree) -> None:
    folders, files = tree.listing()
    if any(_is_picture(f) for f in files):
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
    """Reads `<class>/**/<image>`, or the same below train/, val/ and test/, with what is known of places.

    Classes are the folder names, sorted; one without a sound picture is left out. Raises DataError when fewer than two
    are left, or something goes beyond the limits.
    """
    seen = find_class_folders(tree, options.limits)
    tree = seen.tree
    names = [f.name for _, pictures in seen.splits.values() for f in pictures]
    known = may_have_annotations(tree, options.boxes)
    sizes, broken = readable(tree, names, sys.maxsize if known else options.limits.headers, options.tick)
    skipped = [*seen.skipped, *broken]
    folders = {f.folder for _, pictures in seen.splits.values() for f in pictures}
    kept = {f.folder for _, pictures in seen.splits.values() for f in pictures if f.name in sizes}
    skipped += [
        Skipped(shortened(f), "no picture in it can be read, so this class is left out") for f in sorted(folders - kept)
    ]
    if len(kept) < options.limits.least_classes:
        _refuse_few(sorted(kept), [*options.before, *skipped])
    number = {folder: k for k, folder in enumerate(sorted(kept))}
    annotations = read_annotations(tree, sizes, options.boxes, skipped) if known else {}
    classes = distinct([printable(folder) for folder in number])
    splits = {}
    for split, (at, pictures) in seen.splits.items():
        pictures = [f for f in pictures if f.name in sizes]
        splits[split] = ImageSet(
            root=tree.root / at,
            paths=tuple(tree.path(f.name) for f in pictures),
            labels=tuple(number[f.folder] for f in pictures),
            classes=classes,
            names=tuple(printable(f.name.removeprefix(f"{at}/" if at else "")) for f in pictures),
            annotations=tuple(annotations[f.name] for f in pictures) if annotations else (),
        )
    return DataSet("folders", {split: images for split, images in splits.items() if len(images)}, tuple(skipped))


def _refuse_few(kept: Sequence[str], skipped: Sequence[Skipped]) -> None:
    found = f"only the class {quoted(kept[0])}" if kept else "none"
    first = f" ({quoted(skipped[0].name)} was passed over: {skipped[0].reason[:150]})" if skipped else ""
    raise DataError(f"Expected at least two classes with pictures, found {found}{first}: put each class in a folder.")


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, those met again with a number behind them."""
    used: dict[str, None] = {}
    for name in names:
        n, free = 1, name
        while free in used:
            n += 1
            free = f"{name} ({n})"
        used[free] = None
    return tuple(used)
