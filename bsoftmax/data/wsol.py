"""Metadata of the WSOL benchmark (Choe et al., CVPR 2020): lists of images, labels, sizes, and boxes or masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..utils.text import quoted
from .annotations import Box, Size, parse_box
from .file_tree import FileTree
from .folders import SPLITS, ReadOptions, unwrap
from .official import ListedImage, build_data_set, parse_lines
from .sets import DataError, DataSet

IDS, LABELS, SIZES, BOXES = "image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"
MOST_LABELS = 1_000_000  # there is a name for every label up to the largest


def is_wsol(tree: FileTree) -> bool:
    """Whether these files are metadata of the WSOL benchmark (Choe et al., CVPR 2020)."""
    return bool(_wsol_splits(unwrap(tree)))


def _wsol_splits(tree: FileTree) -> dict[str, str]:
    folders = {folder for folder in tree.listing()[0] if tree.path(f"{folder}/{IDS}")}
    own = {key: name for key, names in SPLITS.items() for name in names if name in folders}
    return own | {name: name for name in sorted(folders - set(own.values()))}


def read_wsol(tree: FileTree, options: ReadOptions) -> DataSet:
    """Reads <split>/{image_ids,class_labels,image_sizes,localization}.txt, with boxes or with masks.

    Images: `options.images`, or images/ beside the splits, or the benchmark's dataset/<NAME>/ beside metadata/<NAME>/.
    """
    tree = unwrap(tree)
    images = _wsol_images(tree, options)
    splits = {key: _wsol_rows(tree, folder, images) for key, folder in _wsol_splits(tree).items()}
    classes = _wsol_classes(tree, [row for rows in splits.values() for row in rows])
    return build_data_set("wsol", splits, classes, images, options)


def _wsol_images(tree: FileTree, options: ReadOptions) -> FileTree:
    if options.images:
        return FileTree(options.images)
    beside = tree.root.parent.parent / "dataset" / tree.root.name
    if "images" not in tree.listing()[0] and tree.root.parent.name == "metadata" and beside.is_dir():
        return FileTree(beside)
    return tree.below("images")


def _wsol_rows(tree: FileTree, folder: str, images: FileTree) -> list[ListedImage]:
    labels = dict(parse_lines(tree, f"{folder}/{LABELS}", _pair, "path,label"))
    sizes = dict(parse_lines(tree, f"{folder}/{SIZES}", _size, "path,w,h"))
    boxes: dict[str, list[Box]] = {}
    masks: dict[str, list[Path]] = {}
    ignore: dict[str, Path] = {}
    for name, found in parse_lines(tree, f"{folder}/{BOXES}", _object, "path,x0,y0,x1,y1 or path,mask,ignore"):
        if not isinstance(found[0], str):
            boxes.setdefault(name, []).append(found)
            continue
        mask, without = (_mask(tree, images, part) for part in found)
        if mask:
            masks.setdefault(name, []).append(mask)
        if without:
            ignore[name] = without
    ids = list(parse_lines(tree, f"{folder}/{IDS}", str, "a path"))
    for name in ids:
        if name not in labels:
            raise DataError(f"{folder}/{LABELS} has no line for {quoted(name)} of {IDS}: add it.")
    return [
        ListedImage(n, labels[n], tuple(boxes.get(n, ())), sizes.get(n), tuple(masks.get(n, ())), ignore.get(n))
        for n in ids
    ]


def _pair(line: str) -> tuple[str, int]:
    name, label = line.rsplit(",", 1)
    if not 0 <= int(label) < MOST_LABELS:
        raise ValueError
    return name, int(label)


def _size(line: str) -> tuple[str, Size]:
    name, w, h = line.rsplit(",", 2)
    if int(w) < 1 or int(h) < 1:
        raise ValueError
    return name, (int(w), int(h))


def _object(line: str) -> tuple[str, Box | tuple[str, str]]:
    name, *cells = line.rsplit(",", 4)
    if len(cells) == 4 and re.fullmatch(r"[-+.\deE,]+", ",".join(cells)):
        return name, parse_box(cells, "here")
    name, mask, ignore = line.rsplit(",", 2)
    return name, (mask, ignore)


def _mask(tree: FileTree, images: FileTree, name: str) -> Path | None:
    """Path of a mask, below the folder of images or masks/. Raises DataError when it is in neither."""
    if not name:
        return None
    path = images.path(name) or tree.path(f"masks/{name}")
    if path is None:
        raise DataError(f"{BOXES} names the mask {quoted(name)}, which is neither with the pictures nor in masks/.")
    return path


def _wsol_classes(tree: FileTree, rows: Sequence[ListedImage]) -> list[str]:
    """Names from classes.txt, else from folders with a single label, else numbers."""
    listed = [re.sub(r"^\d+\s+(?=\S)", "", line) for line in parse_lines(tree, "classes.txt", str, "a name")]
    folders: dict[str, set[int]] = {}
    for row in rows:
        folders.setdefault(PurePosixPath(row.name).parent.name, set()).add(row.label)
    by_label = {labels.pop(): folder for folder, labels in sorted(folders.items(), reverse=True) if len(labels) == 1}
    count = max([len(listed), *(row.label + 1 for row in rows)])
    return [listed[k] if k < len(listed) else by_label.get(k, f"class {k}") for k in range(count)]
