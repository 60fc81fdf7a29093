"""The files of a data set by name, and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from ..images.read import ImageError, check_header
from ..utils.text import quoted, shortened
from .sets import Skipped

Tick = Callable[[int, int], None]  # how much is done, of how much
MANIFEST = "manifest.json"  # the last file written into a folder of ours: where it is, the folder is whole
_STALE = 600  # seconds without a new file after which a draft belongs to a process that was killed
ABSENT = "it is listed, but there is no such file"
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_LITTER = frozenset({"thumbs.db", "desktop.ini"})


def hidden(parts: Iterable[str]) -> bool:
    """Whether a path goes through something that no person put there: .DS_Store, __MACOSX, Thumbs.db, .git, ..."""
    return any(part.startswith((".", "__")) or part.lower() in _LITTER for part in parts)


@dataclass(frozen=True)
class FileTree:
    """The files below a folder by name: their paths from it, with slashes; hidden ones are left out."""

    root: Path

    def listing(self, at: str = "") -> tuple[list[str], list[str]]:
        """The folders and the files directly in one folder, both sorted; nothing where there is no such folder."""
        folders, files = [], []
        try:
            with os.scandir(self.root / at) as entries:
                for entry in entries:
                    if not hidden([entry.name]):
                        (folders if entry.is_dir() else files).append(entry.name)
        except (OSError, ValueError):
            return [], []
        return sorted(folders), sorted(files)

    def walk(self, at: str = "") -> Iterator[str]:
        """The names of all files in a folder and in those below it, in an order that depends on the names alone."""
        folders, files = self.listing(at)
        start = f"{at}/" if at else ""
        yield from (start + name for name in files)
        for name in folders:
            if not (self.path_of(start + name)).is_symlink():  # links can lead in circles
                yield from self.walk(start + name)

    def path_of(self, folder: str) -> Path:
        """Where a folder would lie on disk."""
        return self.root / folder

    def path(self, name: str) -> Path | None:
        """Where a file of this name lies on disk; None where there is none."""
        path = self.root / name
        return path if os.path.isfile(path) else None

    def below(self, at: str) -> FileTree:
        """The same files, named from one of their folders."""
        return FileTree(self.root / at)

    def text(self, name: str) -> str | None:
        """What a text file says; None where there is none. Broken characters are replaced."""
        path = self.path(name)
        return path.read_text(encoding="utf-8-sig", errors="replace") if path else None

    def size(self, name: str, header: bool = True) -> tuple[int, int] | None:
        """Width and height of the upright picture of this name; None without a look at its `header`.

        Raises ImageError when it is not there, empty, or has no sound header.
        """
        path = self.path(name)
        if path is None:
            raise ImageError(ABSENT)
        if path.stat().st_size == 0:
            raise ImageError("it is empty")
        return check_header(path, "it") if header else None


@dataclass(frozen=True)
class Unpacked(FileTree):
    """The files of a zip under the names it gives them, wherever they lie on disk; `sizes` (w, h) of the pictures.

    `faults` are the pictures that turned out to be none, and why: they are listed, but have no path.
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
            while above:  # a folder and everything around it, once
                above, _, last = above.rpartition("/")
                known = above in self._folders
                self._folders.setdefault(above, (set(), []))[0].add(last)
                if known:
                    break

    def listing(self, at: str = "") -> tuple[list[str], list[str]]:
        """The folders and the files directly in one folder, both sorted."""
        folders, files = self._folders.get(at, ((), ()))
        return sorted(folders), sorted(files)

    def path(self, name: str) -> Path | None:
        """Where a file of this name lies on disk; None where there is none."""
        return self.files.get(name)

    def below(self, at: str) -> Unpacked:
        """The same files, named from one of their folders."""
        start = f"{at}/" if at else ""
        parts = ({n.removeprefix(start): v for n, v in d.items() if n.startswith(start)}
                 for d in (self.files, self.sizes, self.faults))  # fmt: skip
        return Unpacked(self.root, *parts)

    def size(self, name: str, header: bool = True) -> tuple[int, int]:
        """Width and height of the upright picture of this name, found when it was unpacked.

        Raises ImageError when it turned out to be none, or is not there.
        """
        if name not in self.sizes:
            raise ImageError(self.faults.get(name, ABSENT))
        return self.sizes[name]


def readable(
    tree: FileTree, names: Sequence[str], headers: int, tick: Tick | None = None
) -> tuple[dict[str, tuple[int, int] | None], list[Skipped]]:
    """Those of the names whose header is that of a picture, with its (w, h), in order; the others with a reason.

    Of more than `headers` pictures only existence and length are looked at, and the sizes are None.
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
    """An empty folder to fill, which takes its name when it is left; another process may do the same meanwhile.

    Raises `problem` when it cannot be written, and leaves nothing behind then.
    """
    draft = folder.with_name(f"{folder.name}.{uuid4().hex}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft.mkdir()
        yield draft
        if folder.exists() and not (folder / MANIFEST).is_file():
            shutil.rmtree(folder)
        if not folder.exists():
            draft.rename(folder)
    except OSError as error:
        if (folder / MANIFEST).is_file():  # another process was first
            return
        if error.errno in _FULL:
            advice = f"The disk is full: free some space, or choose another folder than {quoted(str(folder.parent))}."
        else:
            advice = (
                f"Could not write below {quoted(str(folder.parent))} ({error.strerror or error}): check the folder."
            )
        raise problem(advice) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left of this folder."""
    for draft in folder.parent.glob(f"{folder.name}.*.part"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > _STALE:
                shutil.rmtree(draft)
