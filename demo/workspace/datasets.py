"""Ways in which a person's images come to a desk. No widgets here."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from bsoftmax.cams.view import Tick
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import Limits

from .workspaces import Workspace

CLASS_NAME = 100  # letters


def bring(
    workspace: Workspace, source: Path, limits: Limits | None, tick: Tick | None = None, called: str = ""
) -> None:
    """Reads a zip or a folder and lays it on the desk in place of what was there, which stays if this one is bad.

    Raises DataError, ArchiveError or another ValueError with a sentence.
    """
    if workspace.busy:
        raise ValueError("These images are in use: stop or discard what is under way before you bring others.")
    spot = workspace.new_spot()
    try:
        if source.is_file():
            source = _linked(source, spot / source.name)
        data = read_data(str(source), spot / "cache" / "data", limits, tick)
    except BaseException:
        shutil.rmtree(spot, ignore_errors=True)
        raise
    workspace.lay(spot, source.name if source.parent == spot else str(source.resolve()), data, called)


def borrow(lender: Workspace, workspace: Workspace, limits: Limits | None) -> None:
    """Lays the data of one desk on another as well, without a second copy where the disk allows.

    Raises DataError or another ValueError with a sentence.
    """
    if lender.data is None or lender.spot is None:
        raise ValueError("The images that were trained on are no longer on the server: bring them again.")
    if workspace.busy:
        raise ValueError("These images are in use: stop or discard what is under way before you bring others.")
    spot, source = workspace.new_spot(), lender.spot / lender.source
    try:
        if source.is_file():
            source = _linked(source, spot / source.name)
            shutil.copytree(lender.spot / "cache" / "data", spot / "cache" / "data", copy_function=_linked)
        data = read_data(str(source), spot / "cache" / "data", limits)
    except BaseException:
        shutil.rmtree(spot, ignore_errors=True)
        raise
    workspace.lay(spot, source.name if source.parent == spot else str(source), data, lender.called)


def _linked(source: str | Path, target: str | Path) -> str | Path:
    """The same file under another name, without a second copy where the disk allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def add_class(workspace: Workspace, name: str, files: Sequence[str]) -> Path:
    """Adds one class's pictures to the zip that is collected on the desk, and returns it.

    Raises ValueError when the name is empty or taken, or there are no files.
    """
    name = class_name(name)
    if not files:
        raise ValueError(f"Choose some pictures of the class {name!r} first.")
    if name in workspace.classes:
        raise ValueError(f"There is a class {name!r} already: choose another name, or remove all and begin anew.")
    path = workspace.folder / "classes.zip"
    with zipfile.ZipFile(path, "a") as archive:  # pictures are compressed already
        for n, file in enumerate(map(Path, files)):
            archive.write(file, f"{name}/{n:05d}-{file.name}")
    workspace.classes[name] = len(files)
    return path


def class_name(text: str) -> str:
    """A class's name as it may stand in a path: one part of it. Raises ValueError when nothing is left."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]+", " ", text or "").strip(" .")[:CLASS_NAME].strip(" .")
    if not name or name.startswith("__"):
        raise ValueError("Give the class a name.")
    return name


def remove_classes(workspace: Workspace) -> None:
    """Forgets the classes collected so far."""
    workspace.classes.clear()
    (workspace.folder / "classes.zip").unlink(missing_ok=True)
