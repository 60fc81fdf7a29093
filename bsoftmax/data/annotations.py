"""Boxes and masks of objects: boxes.csv, COCO files, PASCAL VOC XML, and the folder masks/."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from ..utils.text import quoted, shortened
from .file_tree import FileTree, readable
from .limits import LIMITS, bytes_in_words
from .sets import Annotation, DataError, Skipped

Box = tuple[float, float, float, float]
Size = tuple[int, int]
HEADER = ["path", "x0", "y0", "x1", "y1"]
TABLE, MASKS = "boxes.csv", "masks"


def read_annotations(
    tree: FileTree, sizes: dict[str, Size], box_file: Path | None, skipped: list[Skipped]
) -> dict[str, Annotation]:
    """Annotations of images by name, from `box_file` (else boxes.csv or a COCO file in the root) and masks/.

    Boxes are inclusive pixels of the upright image. Empty when no image has any, else one Annotation for each image.
    Rows about missing images are added to `skipped`. Raises DataError for a malformed row.
    """
    boxes, masks = _boxes(tree, box_file, sizes, skipped), _masks(tree, sizes, skipped)
    if not boxes and not masks:
        return {}
    annotations = {}
    for name, size in sizes.items():
        what = f"the box of {quoted(name)}"
        clipped = tuple(clip_box(box, size, f"{where}: {what}") for box, where in boxes.get(name, ()))
        annotations[name] = Annotation(size, clipped, (masks[name],) if name in masks else ())
    return annotations


def may_have_annotations(tree: FileTree, box_file: Path | None) -> bool:
    """Whether there may be annotations, for which the size of every image is needed."""
    folders, files = tree.listing()
    return box_file is not None or MASKS in folders or any(f == TABLE or f.lower().endswith(".json") for f in files)


def _masks(tree: FileTree, names: Iterable[str], skipped: list[Skipped]) -> dict[str, Path]:
    """The mask of image a/b.jpg is masks/a/b.png or masks/a/b.jpg.png."""
    existing = set(tree.walk(MASKS))
    masks: dict[str, str] = {}
    for name in names:
        either = (f"{MASKS}/{PurePosixPath(name).with_suffix('.png')}", f"{MASKS}/{name}.png")
        if mask := next((mask for mask in either if mask in existing), None):
            masks[name] = mask
    valid, broken = readable(tree, list(masks.values()), sys.maxsize)
    skipped += broken
    return {name: tree.existing(mask) for name, mask in masks.items() if mask in valid}


Boxes = dict[str, list[tuple[Box, str]]]  # by image name: boxes, each with its position in the file


def _boxes(tree: FileTree, box_file: Path | None, sizes: Iterable[str], skipped: list[Skipped]) -> Boxes:
    found = _box_rows(tree, box_file)
    if found is None:
        return {}
    file, rows = found
    by_base_name: dict[str, list[str]] = {}
    for name in sizes:
        by_base_name.setdefault(PurePosixPath(name).name, []).append(name)
    boxes: Boxes = {}
    missing = {s.name for s in skipped}
    for name, box, where in rows:
        key = str(PurePosixPath(name.replace("\\", "/")))
        candidates = by_base_name.get(PurePosixPath(key).name, [])
        if key not in candidates:  # COCO files often name images without their folder
            key = candidates[0] if len(candidates) == 1 and "/" not in key else key
        if key in candidates:
            boxes.setdefault(key, []).append((box, where))
        elif key not in missing:
            missing.add(key)
            skipped.append(Skipped(shortened(key), f"{file} speaks of it, but there is no such picture"))
    return boxes


def _box_rows(tree: FileTree, box_file: Path | None) -> tuple[str, Iterator[tuple[str, Box, str]]] | None:
    """The name of the file with boxes and its rows (image name, box, position in the file), or None."""
    if box_file is not None:
        name = box_file.name
        if (text := FileTree(box_file.parent).text(name)) is None:
            raise DataError(f"There is no file {quoted(str(box_file))}: name a CSV with the header path,x0,y0,x1,y1.")
        rows = _coco(name, text) if box_file.suffix.lower() == ".json" else parse_csv(name, text)
        if rows is None:
            raise DataError(f"Expected COCO annotations (images, annotations) in {quoted(name)}: check the file.")
        return name, rows
    if (text := tree.text(TABLE)) is not None:
        return TABLE, parse_csv(TABLE, text)
    for name in tree.listing()[1]:
        if name.lower().endswith(".json") and (rows := _coco(name, tree.text(name) or "")) is not None:
            return name, rows
    return None


def parse_csv(file: str, text: str) -> Iterator[tuple[str, Box, str]]:
    """Rows of a CSV with the header path,x0,y0,x1,y1: image name, inclusive box in pixels, position in the file.

    Raises DataError with the file and line.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if header != HEADER:
            raise DataError(f"Expected the header path,x0,y0,x1,y1 in {file} line 1, found {quoted(','.join(header))}.")
        for row in reader:
            if row:
                where = f"{file} line {reader.line_num}"
                yield row[0], parse_box(row[1:], where), where
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num} is no line of a CSV ({error}): mend it.") from None


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Writes boxes.csv: the header and a row for each box."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


def parse_box(cells: Sequence[object], where: str) -> Box:
    """Parses x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. Raises DataError that begins with `where`."""
    try:
        x0, y0, x1, y1 = (float(str(cell)) for cell in cells)
    except ValueError:
        x0 = math.nan
    if not math.isfinite(x0) or not (math.isfinite(x1) and x0 <= x1 and math.isfinite(y1) and y0 <= y1):
        found = quoted(",".join(str(cell) for cell in cells))
        raise DataError(f"{where}: expected four numbers x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, found {found}.")
    return x0, y0, x1, y1


def clip_box(box: Box, size: Size, what: str) -> Box:
    """Clips a box to an image of (w, h) pixels. Raises DataError for a box outside the image."""
    right, bottom = size[0] - 1, size[1] - 1
    x0, y0, x1, y1 = box
    if x1 < 0 or y1 < 0 or x0 > right or y0 > bottom:
        raise DataError(f"{what} lies outside the picture of {size[0]} x {size[1]} pixels: mend it.")
    return max(x0, 0), max(y0, 0), min(x1, right), min(y1, bottom)


def _coco(file: str, text: str) -> Iterator[tuple[str, Box, str]] | None:
    """Rows of a COCO file, [x, y, w, h] as inclusive corners; None for other JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{file} is no JSON: mend it, or move it out of the folder.") from None
    if not isinstance(found, dict) or not {"images", "annotations"} <= found.keys():
        return None
    return _coco_rows(file, found)


def _coco_rows(file: str, found: dict[str, Any]) -> Iterator[tuple[str, Box, str]]:
    if not isinstance(found["images"], list) or not isinstance(found["annotations"], list):
        raise DataError(f"{file}: expected lists of images and of annotations: mend it.")
    try:
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
    except (TypeError, KeyError):
        raise DataError(f"{file}: expected an id and a file_name of every image: mend it.") from None
    for n, entry in enumerate(found["annotations"]):
        where = f"{file} annotation {n + 1}"
        try:
            name = names[entry["image_id"]]
        except (KeyError, TypeError):
            raise DataError(f"{where}: expected the image_id of one of the images: mend it.") from None
        if entry.get("iscrowd"):
            continue
        try:
            if not isinstance(entry["bbox"], list):
                raise TypeError
            x, y, w, h = map(float, entry["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(f"{where}: expected a bbox of four numbers x, y, w, h: mend it.") from None
        yield name, parse_box((x, y, x + w - 1, y + h - 1), where), where


def parse_voc(file: str, text: str) -> tuple[Size, tuple[Box, ...]]:
    """Size (w, h) and boxes of a PASCAL VOC or ImageNet XML file, numbers unchanged.

    Raises DataError for other text, and for XML with a document type, whose entities could fill the memory.
    """
    if len(text) > LIMITS.text_bytes or "<!DOCTYPE" in text or "<!ENTITY" in text:
        limit = bytes_in_words(LIMITS.text_bytes)
        raise DataError(f"{file}: expected plain XML of at most {limit} without a document type.")
    try:
        root = ElementTree.fromstring(text)
        size = (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
        found = [[b.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")] for b in root.iter("bndbox")]
        if min(size) < 1:
            raise ValueError
    except (ElementTree.ParseError, ValueError):
        raise DataError(f"{file}: expected XML with the picture's size and bndbox entries: mend it.") from None
    return size, tuple(clip_box(parse_box(box, file), size, f"{file}: a box") for box in found)
