"""bsoftmax explain: maps of photographs, as one figure, as raw numbers, or as a file for each photograph."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..cams import methods
from ..cams.sources import SOURCES
from ..cams.view import Evidence
from ..data.file_tree import FileTree
from ..images.export import save_figure, save_maps
from ..images.figures import Panel, Row, figure
from ..images.read import SUFFIXES, ImageError
from ..models import zoo
from ..models.dual_branch import DualBranch
from ..utils.files import write_text
from .arguments import add_class, add_model
from .console import open_view, progress_bar, ticker

CLAMPS = {"paper": None, "on": True, "off": False}
FORMATS = {"png": (".png",), "npz": (".npz",), "both": (".png", ".npz")}
MAX_ROWS = 60  # of one figure; more take gigabytes to draw, and each is tiny
OPTIONS = "options.json"  # those of all files in a folder

Maps = dict[str, np.ndarray]


def run(options: argparse.Namespace) -> None:
    """Figure (.png, .pdf) or raw maps (.npz) of images under methods and sources, or a file for each in a folder."""
    photographs = find_photographs(options.images)
    into_folder = options.out.endswith(("/", "\\")) or Path(options.out).is_dir()
    if not into_folder:
        _check_rows(options, len(photographs))
    model = zoo.open_model(options.model, options.weights)
    options.method = options.method or [methods.default(model)]
    if reason := next(filter(None, (methods.unavailable(model, method) for method in options.method)), None):
        raise ValueError(reason)
    options.source = options.source or ["softmax", "sigmoid" if model.sigmoid is not None else "log-odds"]
    (_write_folder if into_folder else _write_one)(options, model, photographs)


def find_photographs(given: Sequence[str]) -> dict[str, Path]:
    """Name -> path of every photograph; those of folders and their subfolders are named by the path below the folder.

    Names that occur twice are replaced by the path as given. Raises ValueError for a folder without photographs.
    """
    found: list[tuple[str, Path]] = []
    for word in given:
        path = Path(word)
        if not path.is_dir():
            found.append((path.name, path))
            continue
        inside = sorted(name for name in FileTree(path).walk() if Path(name).suffix.lower() in SUFFIXES)
        if not inside:
            raise ValueError(
                f"There are no photographs in {word!r}: expected files that end in {', '.join(sorted(SUFFIXES))}."
            )
        found += [(name, path / name) for name in inside]
    names = [name for name, _ in found]
    return {(str(path) if names.count(name) > 1 else name): path for name, path in found}


def _check_rows(options: argparse.Namespace, photographs: int) -> None:
    rows = photographs * len(options.method or [""])
    if Path(options.out).suffix.lower() != ".npz" and rows > MAX_ROWS:
        raise ValueError(
            f"Expected at most {MAX_ROWS} rows in one figure, got {rows}: name a folder as --out (a name that ends in "
            "/), which then gets a file for each photograph."
        )


def _write_one(options: argparse.Namespace, model: DualBranch, photographs: dict[str, Path]) -> None:
    """Writes one figure, or one file of maps, of all photographs."""
    rows: list[Row] = []
    maps: Maps = {}
    for name, path in tqdm(photographs.items(), "explain", file=sys.stderr, disable=len(photographs) < 2, leave=False):
        its_rows, arrays = explained(options, model, name, path)
        rows += its_rows
        maps |= arrays
    _write(Path(options.out), options, model, rows, maps)
    print(f"wrote {options.out}")


def _write_folder(options: argparse.Namespace, model: DualBranch, photographs: dict[str, Path]) -> None:
    """Writes a file for each photograph; existing ones are kept."""
    folder = Path(options.out)
    _check_options(folder, options, model)
    targets = {name: list(target) for name, target in file_names(folder, photographs, FORMATS[options.format])}
    todo = [name for name in photographs if not all(target.is_file() for target in targets[name])]
    if len(todo) < len(photographs):
        print(f"{len(photographs) - len(todo)} of {len(photographs)} photographs are done already")
    written, unreadable = 0, []
    for name in tqdm(todo, "explain", file=sys.stderr, leave=False):
        try:
            rows, maps = explained(options, model, name, photographs[name])
        except ImageError as error:
            unreadable.append(f"counted out: {name} ({error})")
            continue
        for target in targets[name]:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, options, model, rows, maps)
        written += 1
    for line in unreadable:
        print(line)
    if unreadable and len(unreadable) == len(photographs):
        raise ValueError(f"None of the {len(photographs)} photographs could be read.")
    print(f"wrote the maps of {written} photographs into {folder}")


def _check_options(folder: Path, options: argparse.Namespace, model: DualBranch) -> None:
    """Writes the options of a folder's files. Raises ValueError when it has files made with others."""
    current = {
        "model": Path(options.model).name, "frozen_sha256": model.frozen_hash(), "methods": options.method,
        "sources": options.source, "class": options.class_name, "clamp": options.clamp, "scale": options.scale,
    }  # fmt: skip
    path = folder / OPTIONS
    try:
        existing = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else current
    except ValueError:
        existing = None
    if existing != current:
        raise ValueError(
            f"{options.out!r} holds maps made with another model or other options ({OPTIONS} says which): name another "
            "folder as --out, or delete it."
        )
    write_text(path, json.dumps(current, indent=1))


def file_names(folder: Path, names: Sequence[str] | dict[str, Path], endings: Sequence[str]) -> Iterator[Any]:
    """(name, files) of every photograph: its name with another suffix, appended where two files would collide."""
    stems = [str(Path(name).with_suffix("")) for name in names]
    for name, stem in zip(names, stems):
        inside = Path(name if stems.count(stem) > 1 else stem)
        inside = Path(*(part for part in inside.parts if part not in ("..", inside.anchor)))
        yield name, [folder / inside.with_name(inside.name + ending) for ending in endings]


def explained(options: argparse.Namespace, model: DualBranch, name: str, path: Path) -> tuple[list[Row], Maps]:
    """The rows of a figure and the raw maps of one photograph, by one trunk pass."""
    image, view, k = open_view(model, path, options.class_name)
    rows: list[Row] = []
    maps: Maps = {}
    for method in options.method:
        panels = []
        for source in options.source:
            S = _map(view.evidence(source, k), method, CLAMPS[options.clamp])
            maps[f"{name}|{model.classes[k]}|{method}|{source}"] = S
            panels.append(Panel(SOURCES[source].title, methods.METHODS[method].label, S))
        rows.append(Row(image, f"{model.classes[k]}", tuple(panels)))
    return rows, maps


def _map(evidence: Evidence, method: str, clamp: bool | None) -> np.ndarray:
    """The map [P,Q] of a view of one image, with a progress bar where it takes seconds."""
    if not methods.takes_seconds(evidence.view.model, method):
        return methods.class_map(evidence, method, clamp)[0].numpy()
    with progress_bar(0, f"{methods.METHODS[method].label}, {evidence.source.title}") as bar:
        return methods.class_map(evidence, method, clamp, ticker(bar))[0].numpy()


def _write(path: Path, options: argparse.Namespace, model: DualBranch, rows: Sequence[Row], maps: Maps) -> None:
    if path.suffix.lower() == ".npz":
        save_maps(path, maps, {"model": options.model, "clamp": options.clamp, "frozen_sha256": model.frozen_hash()})
    else:
        save_figure(figure(rows, scale=options.scale), path)


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="photographs, or folders of them")
    sub.add_argument("--source", action="append", choices=SOURCES, help="repeat for several; default softmax, sigmoid")
    sub.add_argument("--method", action="append", choices=methods.METHODS, help="repeat for several; default cam")
    sub.add_argument("--clamp", choices=CLAMPS, default="paper", help="keep positive weights only")
    sub.add_argument("--scale", choices=("each", "shared", "signed"), default="each")
    sub.add_argument(
        "--out", default="bsoftmax.png",
        help=".png, .pdf or .npz; a folder (a name ending in /) gets a file for each photograph; default %(default)s",
    )  # fmt: skip
    sub.add_argument("--format", choices=FORMATS, default="png", help="of the files in a folder; default %(default)s")
    add_model(sub)
    add_class(sub)
