"""ImageNet-1K (Russakovsky et al. 2015), in Kaggle's or the usual directory layout, with the boxes of val."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from ..images.read import SUFFIXES
from ..utils.text import shortened
from .annotations import Box, Size, parse_box, parse_voc
from .file_tree import FileTree
from .folders import ReadOptions, unwrap
from .official import ListedImage, build_data_set, parse_lines, read_mat
from .sets import DataError, DataSet, Skipped

_WNID = re.compile(r"n\d{8}")
_KAGGLE = "Data/CLS-LOC"
_XML = ("Annotations/CLS-LOC/val", "Annotations/val", "Annotation/val", "bbox/val", "val")
_DEVKIT = "ILSVRC2012_devkit_t12/data"
_TRUTH, _META = f"{_DEVKIT}/ILSVRC2012_validation_ground_truth.txt", f"{_DEVKIT}/meta.mat"
_SOLUTION, _MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
_BOX = re.compile(r"(n\d{8})((?: -?\d+){4})(?: |$)")


@dataclass(frozen=True)
class _Layout:
    """`base` has the annotations and the development kit, `data` train and val, `lists` the .csv and .txt files."""

    base: FileTree
    data: FileTree
    lists: FileTree


def is_imagenet(tree: FileTree) -> bool:
    """Whether these files are ImageNet-1K: as on Kaggle, or as train/<wnid>/ and val/."""
    layout = _layout(tree)
    kaggle = layout.data is not layout.base
    return "val" in layout.data.listing()[0] and (kaggle or bool(_wnids(layout.data, "train")))


def _layout(tree: FileTree) -> _Layout:
    inner = unwrap(tree)
    for base, lists in ((tree.below("ILSVRC"), tree), (tree, tree), (inner.below("ILSVRC"), inner), (inner, inner)):
        if base.listing(_KAGGLE)[0]:
            return _Layout(base, base.below(_KAGGLE), lists)
    return _Layout(inner, inner, inner)


def _wnids(tree: FileTree, folder: str) -> list[str]:
    return [name for name in tree.listing(folder)[0] if _WNID.fullmatch(name)]


def read_imagenet(tree: FileTree, options: ReadOptions) -> DataSet:
    """Reads train/<wnid>/ and val/, flat or in folders, with the boxes of val; classes are the wnids, sorted.

    The classes of a flat val come from LOC_val_solution.csv, the development kit or the XML. Boxes are those of the
    XML, else of LOC_val_solution.csv, unchanged. Raises DataError when the classes of val are unknown.
    """
    layout = _layout(tree)
    solution = dict(parse_lines(layout.lists, _SOLUTION, _solution_row, "an image and its boxes"))
    train, val = _in_folders(layout.data, "train"), _in_folders(layout.data, "val")
    annotations = _Annotations.of(layout.base)
    unknown: list[Skipped] = []
    if not val:
        val, unknown = _flat(layout, solution, annotations)
    listed = list(parse_lines(layout.lists, _MAPPING, lambda line: line.split()[0], "a synset and its name"))
    classes = sorted({*listed, *(wnid for _, wnid in (*train, *val))})
    number = {wnid: k for k, wnid in enumerate(classes)}
    splits = {
        "train": [ListedImage(name, number[wnid]) for name, wnid in train],
        "val": [ListedImage(name, number[wnid], *_boxes(name, annotations, solution)) for name, wnid in val],
    }
    found = build_data_set("imagenet", splits, classes, layout.data, options)
    return replace(found, skipped=(*found.skipped, *unknown))


def _in_folders(data: FileTree, split: str) -> list[tuple[str, str]]:
    return [
        (f"{split}/{wnid}/{file}", wnid)
        for wnid in _wnids(data, split)
        for file in data.listing(f"{split}/{wnid}")[1]
        if PurePosixPath(file).suffix.lower() in SUFFIXES
    ]


Solution = dict[str, tuple[str, tuple[Box, ...]]]  # class and boxes by the stem of the image


def _solution_row(line: str) -> tuple[str, tuple[str, tuple[Box, ...]]]:
    """Parses a line of LOC_val_solution.csv: image, then `wnid x0 y0 x1 y1` for each box."""
    stem, _, text = line.partition(",")
    if stem == "ImageId":
        return stem, ("", ())
    found = _BOX.findall(text)
    if not found:
        raise ValueError
    return stem, (found[0][0], tuple(parse_box(box.split(), f"{_SOLUTION}, {stem}") for _, box in found))


@dataclass(frozen=True)
class _Annotations:
    """The XML files of val, in the first folder that has any."""

    tree: FileTree
    folder: str
    files: frozenset[str]

    @classmethod
    def of(cls, base: FileTree) -> _Annotations:
        for folder in _XML:
            files = frozenset(file for file in base.listing(folder)[1] if file.endswith(".xml"))
            if files:
                return cls(base, folder, files)
        return cls(base, "", frozenset())

    def text(self, stem: str) -> str | None:
        """The XML of an image; None when there is no file."""
        return self.tree.text(f"{self.folder}/{stem}.xml") if f"{stem}.xml" in self.files else None


def _boxes(name: str, annotations: _Annotations, solution: Solution) -> tuple[tuple[Box, ...], Size | None]:
    stem = PurePosixPath(name).stem
    text = annotations.text(stem)
    if text is not None:
        size, boxes = parse_voc(f"{stem}.xml", text)
        return boxes, size
    return solution.get(stem, ("", ()))[1], None


def _flat(
    layout: _Layout, solution: Solution, annotations: _Annotations
) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """The images of a flat val with their classes, and those of unknown class."""
    files = [file for file in layout.data.listing("val")[1] if PurePosixPath(file).suffix.lower() in SUFFIXES]
    truth = {} if solution else dict(_devkit(layout.base))
    found, unknown = [], []
    for file in files:
        stem = PurePosixPath(file).stem
        wnid = solution.get(stem, ("",))[0] or truth.get(stem) or _class_in_xml(annotations.text(stem))
        if wnid:
            found.append((f"val/{file}", wnid))
        else:
            unknown.append(Skipped(shortened(f"val/{file}"), "nothing says its class"))
    if unknown and not found:
        raise DataError(
            f"Nothing says the classes of the {len(files):,} pictures in val: add {_SOLUTION} (Kaggle), or the "
            f"development kit with {_TRUTH} and meta.mat, or sort them into folders."
        )
    return found, unknown


def _devkit(base: FileTree) -> Iterator[tuple[str, str]]:
    """The class of each image: line n of the ground truth is the ILSVRC2012_ID of ILSVRC2012_val_<n>."""
    if base.path(_TRUTH) is None:
        return
    try:
        wnid = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in read_mat(base, _META, "synsets")}
    except (KeyError, TypeError, IndexError):
        raise DataError(f"Expected ILSVRC2012_ID and WNID of every synset in {_META}: bring the kit's own.") from None
    for n, number in enumerate(parse_lines(base, _TRUTH, int, "a class number")):
        if number not in wnid:
            raise DataError(f"{_TRUTH} line {n + 1}: {number} is no class of meta.mat: bring the kit's own pair.")
        yield f"ILSVRC2012_val_{n + 1:08d}", wnid[number]


def _class_in_xml(text: str | None) -> str | None:
    found = re.search(r"<name>\s*(n\d{8})\s*</name>", text or "")
    return found.group(1) if found else None
