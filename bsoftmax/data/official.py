"""Data sets described by lists of images; the layouts of CUB-200-2011 and Stanford Cars.

Boxes become inclusive pixels counted from 0. Listed images without a file are skipped with a reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..utils.text import printable, quoted, shortened
from .annotations import Box, Size, clip_box, parse_box
from .file_tree import FileTree, Unpacked, readable
from .folders import LONGEST_CLASS, ReadOptions, distinct, unwrap
from .sets import Annotation, DataError, DataSet, ImageSet, Skipped

T = TypeVar("T")


class ListedImage(NamedTuple):
    """An image of a list: name relative to the folder of images, label, and annotations."""

    name: str
    label: int
    boxes: tuple[Box, ...] = ()
    size: Size | None = None  # of the image that the boxes refer to, where a list has it
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None


def build_data_set(
    layout: str,
    splits: Mapping[str, Sequence[ListedImage]],
    classes: Sequence[str],
    images: FileTree,
    options: ReadOptions,
) -> DataSet:
    """The data set of the listed images; missing and broken ones are skipped with a reason.

    Raises DataError when no image can be read.
    """
    found: dict[str, ImageSet] = {}
    skipped: list[Skipped] = []
    names = distinct([shortened(name, LONGEST_CLASS) for name in classes])
    for split, rows in splits.items():
        annotated = any(row.boxes or row.masks for row in rows)
        sizes_missing = annotated and any(row.size is None for row in rows)
        limit = sys.maxsize if sizes_missing else options.limits.headers
        sizes, broken = readable(images, [row.name for row in rows], limit, options.tick)
        skipped += broken
        known = {name: size for name, size in sizes.items() if size}
        kept = [row for row in rows if row.name in sizes]
        found[split] = ImageSet(
            root=images.root,
            paths=tuple(images.existing(row.name) for row in kept),
            labels=tuple(row.label for row in kept),
            classes=names,
            names=tuple(printable(row.name) for row in kept),
            annotations=tuple(_annotation(row, row.size or known[row.name]) for row in kept) if annotated else (),
        )
    if not any(map(len, found.values())):
        listed = sum(map(len, splits.values()))
        first = f", the first being {quoted(skipped[0].name)} ({skipped[0].reason})" if skipped else ""
        where = "" if isinstance(images, Unpacked) else f" in {quoted(str(images.root))}"
        raise DataError(
            f"None of the {listed:,} pictures listed can be read{where}{first}: put them "
            "where the list says, or say where they are (images)."
        )
    return DataSet(layout, {split: kept for split, kept in found.items() if len(kept)}, tuple(skipped))


def _annotation(row: ListedImage, size: Size) -> Annotation:
    boxes = tuple(clip_box(box, size, f"The box of {quoted(row.name)}") for box in row.boxes)
    return Annotation(size, boxes, row.masks, row.ignore)


def parse_lines(tree: FileTree, name: str, parse: Callable[[str], T], expected: str) -> Iterator[T]:
    """The parsed lines of a text file; none when it does not exist.

    Raises DataError with the file and line.
    """
    for n, line in enumerate((tree.text(name) or "").splitlines()):
        if line.strip():
            try:
                yield parse(line.strip())
            except (ValueError, IndexError):
                raise DataError(f"{name} line {n + 1}: expected {expected}, found {quoted(line)}: mend it.") from None


def is_cub(tree: FileTree) -> bool:
    """Whether these files are the unpacked CUB-200-2011 (Wah et al. 2011)."""
    tree = _cub(tree)
    return all(tree.path(name) for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt"))


def _cub(tree: FileTree) -> FileTree:
    return tree.below("CUB_200_2011") if "CUB_200_2011" in tree.listing()[0] else unwrap(tree, "images.txt")


def read_cub(tree: FileTree, options: ReadOptions) -> DataSet:
    """Reads images.txt and the files with the same numbers; a box x, y, w, h becomes x, y, x + w - 1, y + h - 1."""
    tree = _cub(tree)
    names = _numbered(tree, "images.txt", str)
    labels = _numbered(tree, "image_class_labels.txt", int)
    split = _numbered(tree, "train_test_split.txt", int)
    boxes = _numbered(tree, "bounding_boxes.txt", str)
    classes = _numbered(tree, "classes.txt", str)
    order = {number: k for k, number in enumerate(sorted(classes or set(labels.values())))}
    splits: dict[str, list[ListedImage]] = {"train": [], "test": []}
    for number, name in names.items():
        if labels.get(number) not in order or number not in split:
            raise DataError(f"images.txt numbers {quoted(name)} as {number}, which has no label or no split: add them.")
        box = (_cub_box(boxes[number], number),) if number in boxes else ()
        splits["train" if split[number] == 1 else "test"].append(ListedImage(name, order[labels[number]], box))
    images = FileTree(options.images) if options.images else tree.below("images")
    return build_data_set("cub", splits, [classes.get(k, f"class {k}") for k in order], images, options)


def _numbered(tree: FileTree, file: str, kind: Callable[[str], T]) -> dict[int, T]:
    """The values of a file by their numbers, from lines `number value`."""

    def parse(line: str) -> tuple[int, T]:
        number, value = line.split(maxsplit=1)
        return int(number), kind(value)

    return dict(parse_lines(tree, file, parse, "a number and a value"))


def _cub_box(text: str, number: int) -> Box:
    where = f"bounding_boxes.txt, image {number}"
    try:
        x, y, w, h = map(float, text.split())
    except ValueError:
        raise DataError(f"{where}: expected four numbers x, y, w, h, found {quoted(text)}: mend it.") from None
    return parse_box((x, y, x + w - 1, y + h - 1), where)


def is_cars(tree: FileTree) -> bool:
    """Whether these files are the unpacked Stanford Cars (Krause et al. 2013)."""
    return bool(unwrap(tree).path("devkit/cars_train_annos.mat"))


def read_cars(tree: FileTree, options: ReadOptions) -> DataSet:
    """Reads the .mat lists beside cars_train/ and cars_test/; their boxes count pixels from 1.

    Without cars_test_annos_withlabels.mat there is no test split, and cars_test is in `skipped`.
    """
    tree = unwrap(tree)
    meta = read_mat(tree, "devkit/cars_meta.mat", "class_names")
    classes = [str(name) for name in ([meta] if isinstance(meta, str) else meta)]
    splits = {"train": _cars_rows(tree, "devkit/cars_train_annos.mat", "cars_train", len(classes))}
    labelled = "cars_test_annos_withlabels.mat"
    file = next((name for name in (f"devkit/{labelled}", labelled) if tree.path(name)), None)
    if file:
        splits["test"] = _cars_rows(tree, file, "cars_test", len(classes))
    found = build_data_set("cars", splits, classes, FileTree(options.images) if options.images else tree, options)
    if file:
        return found
    unlabelled = Skipped("cars_test", f"its classes are unknown without {labelled}, which goes into devkit/")
    return replace(found, skipped=(*found.skipped, unlabelled))


def _cars_rows(tree: FileTree, file: str, folder: str, classes: int) -> list[ListedImage]:
    rows = []
    entries = read_mat(tree, file, "annotations")
    for n, entry in enumerate([entries] if isinstance(entries, dict) else entries):
        where = f"{file} entry {n + 1}"
        try:
            label, name = int(entry["class"]) - 1, f"{folder}/{entry['fname']}"
            edges = [int(entry[f"bbox_{edge}"]) - 1 for edge in ("x1", "y1", "x2", "y2")]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{where}: expected bbox_x1, bbox_y1, bbox_x2, bbox_y2, class and fname.") from None
        if not 0 <= label < classes:
            raise DataError(f"{where}: expected a class of 1 to {classes}, found {label + 1}.")
        rows.append(ListedImage(name, label, (parse_box(edges, where),)))
    return rows


def read_mat(tree: FileTree, name: str, key: str) -> Any:
    """One variable of a MATLAB file: structures as dicts, arrays of them as lists or arrays.

    Raises DataError when SciPy, the file or the variable is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError("MATLAB files (.mat) are read with SciPy, which is not installed: pip install scipy.") from None
    path = tree.path(name)
    try:
        return loadmat(path, simplify_cells=True)[key]
    except Exception as error:  # SciPy's reader raises almost anything on damaged input
        found = "no such file" if path is None else f"{type(error).__name__} while reading it"
        raise DataError(f"Expected a MATLAB file {name} with {key}, found {found}: check the archive.") from error
