"""Where the objects are: boxes from tables, COCO files and XML, and masks beside the pictures."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
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
    tree: FileTree, sizes: dict[str, Size], given: Path | None, skipped: list[Skipped]
) -> dict[str, Annotation]:
    """What boxes.csv or a COCO file in the root, or the file given, and the folder masks/ say of these pictures.

    Boxes are inclusive pixels of the upright picture. Empty when nothing is said of any picture; otherwise a Truth
    for every one. Lines about pictures that are not there go to `skipped`. Raises DataError for a malformed line.
    """
    boxes, masks = _boxes(tree, given, sizes, skipped), _masks(tree, sizes, skipped)
    if not boxes and not masks:
        return {}
    annotations = {}
    for name, size in sizes.items():
        mine = tuple(clip_box(box, size, f"{where}: the box of {quoted(name)}") for box, where in boxes.get(name, ()))
        annotations[name] = Annotation(size, mine, (masks[name],) if name in masks else ())
    return annotations


def may_have_annotations(tree: FileTree, given: Path | None) -> bool:
    """Whether something may be known of places: then every picture's size is needed."""
    folders, files = tree.listing()
    return given is not None or MASKS in folders or any(f == TABLE or f.lower().endswith(".json") for f in files)


def _masks(tree: FileTree, names: Iterable[str], skipped: list[Skipped]) -> dict[str, Path]:
    """Of picture a/b.jpg the mask masks/a/b.png, or masks/a/b.jpg.png."""
    there = set(tree.walk(MASKS))
    wanted = {}
    for name in names:
        either = (f"{MASKS}/{PurePosixPath(name).with_suffix('.png')}", f"{MASKS}/{name}.png")
        wanted[name] = next((mask for mask in either if mask in there), None)
    sound, broken = readable(tree, [mask for mask in wanted.values() if mask], sys.maxsize)
    skipped += broken
    return {name: tree.path(mask) for name, mask in wanted.items() if mask in sound}


Boxes = dict[str, list[tuple[Box, str]]]  # of a picture's name: boxes, and the file and line that said so


def _boxes(tree: FileTree, given: Path | None, sizes: Iterable[str], skipped: list[Skipped]) -> Boxes:
    said = _said(tree, given)
    if said is None:
        return {}
    file, rows = said
    by_end: dict[str, list[str]] = {}
    for name in sizes:
        by_end.setdefault(PurePosixPath(name).name, []).append(name)
    boxes: Boxes = {}
    gone = {s.name for s in skipped}
    for name, box, where in rows:
        key = str(PurePosixPath(name.replace("\\", "/")))
        alike = by_end.get(PurePosixPath(key).name, [])
        if key not in alike:  # COCO files often name pictures without their folder
            key = alike[0] if len(alike) == 1 and "/" not in key else key
        if key in alike:
            boxes.setdefault(key, []).append((box, where))
        elif key not in gone:
            gone.add(key)
            skipped.append(Skipped(shortened(key), f"{file} speaks of it, but there is no such picture"))
    return boxes


def _said(tree: FileTree, given: Path | None) -> tuple[str, Iterator[tuple[str, Box, str]]] | None:
    """The file that speaks of boxes and its rows (name, box, place in the file), or None."""
    if given is not None:
        if (text := FileTree(given.parent).text(given.name)) is None:
            raise DataError(f"There is no file {quoted(str(given))}: name a CSV with the header path,x0,y0,x1,y1.")
        rows = _coco(given.name, text) if given.suffix.lower() == ".json" else parse_csv(given.name, text)
        if rows is None:
            raise DataError(f"Expected COCO annotations (images, annotations) in {quoted(given.name)}: check the file.")
        return given.name, rows
    if (text := tree.text(TABLE)) is not None:
        return TABLE, parse_csv(TABLE, text)
    for name in tree.listing()[1]:
        if name.lower().endswith(".json") and (rows := _coco(name, tree.text(name) or "")) is not None:
            return name, rows
    return None


def parse_csv(file: str, text: str) -> Iterator[tuple[str, Box, str]]:
    """The rows of a CSV with the header path,x0,y0,x1,y1: name, inclusive box in pixels, place in the file.

    Raises DataError that names file and line.
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
    """Writes boxes.csv: a header and a line for each box."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


def parse_box(cells: Sequence[object], where: str) -> Box:
    """Four numbers x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. Raises DataError that begins with `where`."""
    try:
        x0, y0, x1, y1 = (float(cell) for cell in cells)
    except (TypeError, ValueError):
        x0 = math.nan
    if not math.isfinite(x0) or not (math.isfinite(x1) and x0 <= x1 and math.isfinite(y1) and y0 <= y1):
        found = quoted(",".join(str(cell) for cell in cells))
        raise DataError(f"{where}: expected four numbers x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, found {found}.")
    return x0, y0, x1, y1


def clip_box(box: Box, size: Size, what: str) -> Box:
    """The part of a box within a picture of (w, h) pixels. Raises DataError when none of it is."""
    right, bottom = size[0] - 1, size[1] - 1
    x0, y0, x1, y1 = box
    if x1 < 0 or y1 < 0 or x0 > right or y0 > bottom:
        raise DataError(f"{what} lies outside the picture of {size[0]} x {size[1]} pixels: mend it.")
    return max(x0, 0), max(y0, 0), min(x1, right), min(y1, bottom)


def _coco(file: str, text: str) -> Iterator[tuple[str, Box, str]] | None:
    """The boxes of a COCO file, [x, y, w, h] as inclusive parse_box; None when it is another kind of JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{file} is no JSON: mend it, or move it out of the folder.") from None
    if not isinstance(found, dict) or not {"images", "annotations"} <= found.keys():
        return None
    return _annotations(file, found)


def _annotations(file: str, found: dict) -> Iterator[tuple[str, Box, str]]:
    try:
        names = {image["id"]: str(image["file_name"]) for image in found["images"]}
    except (TypeError, KeyError):
        raise DataError(f"{file}: expected an id and a file_name of every image: mend it.") from None
    for n, entry in enumerate(found["annotations"]):
        where = f"{file} annotation {n + 1}"
        if not isinstance(entry, dict) or entry.get("image_id") not in names:
            raise DataError(f"{where}: expected the image_id of one of the images: mend it.")
        if entry.get("iscrowd"):
            continue
        try:
            x, y, w, h = (float(value) for value in entry["bbox"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{where}: expected a bbox of four numbers x, y, w, h: mend it.") from None
        yield names[entry["image_id"]], parse_box((x, y, x + w - 1, y + h - 1), where), where


def parse_voc(file: str, text: str) -> tuple[Size, tuple[Box, ...]]:
    """Size (w, h) and boxes of an annotation in the XML of PASCAL VOC and ImageNet, numbers as they stand.

    Raises DataError for what is no such XML; document types, with which XML can blow up, are refused unread.
    """
    if len(text) > LIMITS.text_bytes or "<!DOCTYPE" in text or "<!ENTITY" in text:
        limit = bytes_in_words(LIMITS.text_bytes)
        raise DataError(f"{file}: expected plain XML of at most {limit} without a document type.")
    try:
        root = ElementTree.fromstring(text)
        size = (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
        found = [[b.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")] for b in root.iter("bndbox")]
    except (ElementTree.ParseError, ValueError):
        raise DataError(f"{file}: expected XML with the picture's size and bndbox entries: mend it.") from None
    return size, tuple(clip_box(parse_box(box, file), size, f"{file}: a box") for box in found)
