"""The files of a data set, in a folder or an unpacked zip, and atomic writing of folders."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from ..images.read import ImageError, check_header
from ..utils.text import error_sentence, quoted, shortened
from .sets import Skipped

T = TypeVar("T")
Tick = Callable[[int, int], None]  # progress callback: done, total
MANIFEST = "manifest.json"  # the last file written into a folder: where it exists, the folder is complete
_STALE = 600  # seconds without a new file after which a temporary folder is left from a killed process
ABSENT = "it is listed, but there is no such file"
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})


def hidden(parts: Iterable[str]) -> bool:
    """Whether a part of a path is hidden or made by the system: .DS_Store, __MACOSX, Thumbs.db, .git, ..."""
    return any(part.startswith((".", "__")) or part.lower() in _SYSTEM_FILES for part in parts)


@dataclass(frozen=True)
class FileTree:
    """The files below a folder, named by their relative paths with slashes; hidden ones are left out."""

    root: Path

    def listing(self, at: str = "") -> tuple[list[str], list[str]]:
        """Sorted names of the folders and the files directly in a folder; empty when it does not exist."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(self.root / at) as entries:
                for entry in entries:
                    if not hidden([entry.name]):
                        (folders if entry.is_dir() else files).append(entry.name)
        except (OSError, ValueError):
            return [], []
        return sorted(folders), sorted(files)

    def walk(self, at: str = "") -> Iterator[str]:
        """Names of all files below a folder, in an order that depends only on the names."""
        folders, files = self.listing(at)
        start = f"{at}/" if at else ""
        yield from (start + name for name in files)
        for name in folders:
            if not self.is_link(start + name):  # links may form a cycle
                yield from self.walk(start + name)

    def is_link(self, name: str) -> bool:
        """Whether a file or folder is a symbolic link."""
        return os.path.islink(self.root / name)

    def path(self, name: str) -> Path | None:
        """Path of a file on disk; None when it does not exist."""
        path = self.root / name
        return path if os.path.isfile(path) else None

    def existing(self, name: str) -> Path:
        """Path of a file on disk. Raises ImageError when it does not exist."""
        path = self.path(name)
        if path is None:
            raise ImageError(ABSENT)
        return path

    def below(self, at: str) -> FileTree:
        """The files below one of the folders."""
        return FileTree(self.root / at)

    def text(self, name: str) -> str | None:
        """Content of a text file, invalid bytes replaced; None when it does not exist."""
        path = self.path(name)
        return path.read_text(encoding="utf-8-sig", errors="replace") if path else None

    def size(self, name: str, header: bool = True) -> tuple[int, int] | None:
        """Size (w, h) of an upright image from its header; None, after fewer checks, unless `header`.

        Raises ImageError when the file is missing, empty, or has no valid header.
        """
        path = self.existing(name)
        if path.stat().st_size == 0:
            raise ImageError("it is empty")
        return check_header(path, "it") if header else None


@dataclass(frozen=True)
class Unpacked(FileTree):
    """The files of an unpacked zip by their names in it; `sizes` (w, h) of the images.

    `faults` has the reasons why images could not be read: they are listed, but have no path.
    """

    files: dict[str, Path] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    _folders: dict[str, tuple[set[str], list[str]]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.files, *self.faults):
            above, _, last = name.rpartition("/")
            if above in self._folders:
                self._folders[above][1].append(last)
                continue
            self._folders[above] = (set(), [last])
            while above:  # the folder and its parents, once each
                above, _, last = above.rpartition("/")
                known = above in self._folders
                self._folders.setdefault(above, (set(), []))[0].add(last)
                if known:
                    break

    def listing(self, at: str = "") -> tuple[list[str], list[str]]:
        """Sorted names of the folders and the files directly in a folder."""
        folders, files = self._folders.get(at, ((), ()))
        return sorted(folders), sorted(files)

    def is_link(self, name: str) -> bool:
        """False: links are not unpacked, and names in the zip are no names on the disk."""
        return False

    def path(self, name: str) -> Path | None:
        """Path of a file on disk; None when it does not exist."""
        return self.files.get(name)

    def below(self, at: str) -> Unpacked:
        """The files below one of the folders."""
        start = f"{at}/" if at else ""
        return Unpacked(self.root, _below(self.files, start), _below(self.sizes, start), _below(self.faults, start))

    def size(self, name: str, header: bool = True) -> tuple[int, int]:
        """Size (w, h) of an upright image, read when it was unpacked.

        Raises ImageError when it could not be read or is missing.
        """
        if name not in self.sizes:
            raise ImageError(self.faults.get(name, ABSENT))
        return self.sizes[name]


def _below(values: dict[str, T], start: str) -> dict[str, T]:
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def readable(
    tree: FileTree, names: Sequence[str], headers: int, tick: Tick | None = None
) -> tuple[dict[str, tuple[int, int] | None], list[Skipped]]:
    """Sizes (w, h) of the images with a valid header, in order, and the other names with a reason.

    Headers of more than `headers` images are not read: then files are only checked to exist, and sizes are None.
    """
    sizes: dict[str, tuple[int, int] | None] = {}
    skipped = []
    for n, name in enumerate(names):
        try:
            sizes[name] = tree.size(name, len(names) <= headers)
        except ImageError as error:
            skipped.append(Skipped(shortened(name), str(error).removesuffix(".")))
        if tick:
            tick(n + 1, len(names))
    return sizes, skipped


@contextmanager
def atomic_folder(folder: Path, problem: type[ValueError]) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends, unless another process was faster.

    Raises `problem` when it cannot be written; the temporary folder is removed.
    """
    draft = folder.with_name(f"{folder.name}.{uuid4().hex}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        draft.mkdir()
        yield draft
        if folder.exists() and not (folder / MANIFEST).is_file():
            shutil.rmtree(folder)
        if not folder.exists():
            draft.rename(folder)
    except OSError as error:
        if (folder / MANIFEST).is_file():  # another process was faster
            return
        parent = quoted(str(folder.parent))
        if error.errno in _DISK_FULL:
            raise problem(f"The disk is full: free some space, or choose another folder than {parent}.") from None
        raise problem(f"Nothing can be written in {parent}: {error_sentence(error)}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Removes temporary folders of killed processes."""
    for draft in folder.parent.glob(f"{folder.name}.*.part"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > _STALE:
                shutil.rmtree(draft)
