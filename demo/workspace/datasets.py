"""Reading images into a workspace: from a zip, a folder, another tab's workspace, or class by class."""

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
from bsoftmax.utils.text import quoted

from .workspaces import Workspace

CLASS_NAME = 100  # letters


def load_data(
    workspace: Workspace, source: Path, limits: Limits | None, tick: Tick | None = None, label: str = "",
    unpacked: Path | None = None,
) -> None:  # fmt: skip
    """Reads a zip or a folder in place of the workspace's data, which stays if this fails.

    `unpacked` is what an earlier reading of the same zip unpacked. Raises DataError, ArchiveError or another ValueError
    with a sentence.
    """
    if workspace.busy:
        raise ValueError("These images are in use: stop or discard what is under way before you bring others.")
    folder = workspace.new_data_folder()
    cache = folder / "cache" / "data"
    try:
        source = source.resolve()
        if source.is_file():
            source = Path(_link(source, folder / source.name))
            if unpacked:
                shutil.copytree(unpacked, cache, copy_function=_link)
        data = read_data(str(source), cache, limits, tick)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    workspace.set_data(folder, _as_argument(source.name) if source.parent == folder else str(source), data, label)


def _as_argument(name: str) -> str:
    """A file's name on a command line, where "-" begins an option and "hf:" an address."""
    return name if re.match(r"\w[^:]*$", name) else f"./{name}"


def folder_of(text: str) -> Path:
    """The folder that a visitor names, ~ being their own. Raises ValueError for what can be no folder's name."""
    if "\0" in text:
        raise ValueError(f"{quoted(text)} can be no folder's name: write the path of a folder of class folders.")
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:
        raise ValueError(f"There is no user whose folder {quoted(text)} would be: write the whole path.") from None


def copy_data(origin: Workspace, workspace: Workspace, limits: Limits | None) -> None:
    """Loads the data of one workspace into another as well. Raises DataError or another ValueError with a sentence."""
    if origin.data is None or origin.data_folder is None:
        raise ValueError("The images that were trained on are no longer on the server: bring them again.")
    source, unpacked = origin.data_folder / origin.source, origin.data_folder / "cache" / "data"
    load_data(workspace, source, limits, label=origin.label, unpacked=unpacked)


def _link(source: str | Path, target: str | Path) -> str | Path:
    """The same file under another name, without a second copy where the disk allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def add_class(workspace: Workspace, name: str, files: Sequence[str]) -> Path:
    """Adds one class's pictures to the zip that is collected in the workspace, and returns it.

    Raises ValueError when the name is empty or taken, or there are no files.
    """
    name = class_name(name)
    if not files:
        raise ValueError(f"Choose some pictures of the class {quoted(name)} first.")
    if name in workspace.classes:
        raise ValueError(f"There is a class {quoted(name)} already: choose another name, or remove all and begin anew.")
    path = workspace.folder / "classes.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "a") as archive:  # pictures are compressed already
        for n, file in enumerate(map(Path, files)):
            archive.write(file, f"{name}/{n:05d}-{file.name}")
    workspace.classes[name] = len(files)
    return path


def class_name(text: str) -> str:
    """A class's name as one part of a path. Raises ValueError when nothing is left."""
    name = re.sub(r"[\x00-\x1f\x7f/\\]+", " ", text or "").strip(" .")[:CLASS_NAME].strip(" .")
    if not name or name.startswith("__"):
        raise ValueError("Give the class a name.")
    return name


def remove_classes(workspace: Workspace) -> None:
    """Removes the classes collected so far."""
    workspace.classes.clear()
    (workspace.folder / "classes.zip").unlink(missing_ok=True)
