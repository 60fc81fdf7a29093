"""Unpacks a zip safely, under numbered file names.

Names in the zip are only used as keys, never as paths. Sizes are checked before a file is inflated, and again while it
is.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ..images.read import SUFFIXES, ImageError, check_header
from ..utils.text import error_sentence, quoted, shortened
from .file_tree import MANIFEST, FileTree, Tick, Unpacked, atomic_folder, hidden
from .limits import LIMITS, MB, Limits, bytes_in_words
from .sets import DataError, Skipped

TEXTS = frozenset({".txt", ".csv", ".json", ".xml"})
ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"})
LOG = logging.getLogger("bsoftmax")
Member = tuple[str, zipfile.ZipInfo]
_ENTRY = b"PK\x01\x02"  # signature of an entry of the central directory
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # bzip2 and LZMA may inflate kilobytes to gigabytes


class ArchiveError(DataError):
    """A zip that cannot be used; the message says what was expected, what was found, what to do."""


def unpack(
    path: str | Path,
    work: str | Path,
    limits: Limits = LIMITS,
    tick: Tick | None = None,
    check: Callable[[FileTree], object] | None = None,
) -> tuple[Unpacked, list[Skipped]]:
    """Unpacks images and text files of a zip once, into work/<hash of the zip and the limits>/.

    `check` is called with the names before anything is inflated, and may raise. Raises ArchiveError for a file that is
    not a zip, encrypted, truncated, not compressed by Deflate, beyond the limits, or too large for the disk.
    """
    path = Path(path)
    folder = Path(work) / _key(path, limits)
    if not _is_whole(folder):
        with atomic_folder(folder, ArchiveError) as draft, _opened(path, limits) as archive:
            members, skipped = _members(archive.infolist(), limits)
            if check:
                check(Unpacked(draft, dict.fromkeys((name for name, _ in members), draft)))
            if shutil.disk_usage(draft).free < sum(info.file_size for _, info in members):
                raise OSError(errno.ENOSPC, "No space left on device")
            text = json.dumps(_inflate(archive, members, skipped, draft, tick))
            (draft / MANIFEST).write_text(text, encoding="utf-8")
    manifest = _manifest(folder)
    files = {name: folder / file for name, file, _ in manifest["files"]}
    sizes = {name: tuple(size) for name, _, size in manifest["files"] if size}
    return Unpacked(folder, files, sizes, manifest["faults"]), [Skipped(*entry) for entry in manifest["skipped"]]


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def _is_whole(folder: Path) -> bool:
    """Whether a zip has been unpacked there; what is damaged, or lacks files, is removed to be unpacked again."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries}
        manifest = _manifest(folder)
        if {file for _, file, _ in manifest["files"]} <= there and {"faults", "skipped"} <= manifest.keys():
            return True
    except (OSError, ValueError, TypeError, KeyError):
        pass
    LOG.warning("What was unpacked of this zip before is damaged: it is unpacked again.")
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _key(path: Path, limits: Limits) -> str:
    try:
        size = path.stat().st_size
        if size > limits.zip_bytes:
            raise ArchiveError(
                f"Expected a zip of at most {bytes_in_words(limits.zip_bytes)}, but {quoted(path.name)} has "
                f"{bytes_in_words(size)}: bring fewer or smaller pictures."
            )
        digest = hashlib.sha256(repr(limits).encode())
        with open(path, "rb") as file:
            while block := file.read(MB):
                digest.update(block)
    except OSError as error:
        raise ArchiveError(error_sentence(error)) from None
    return digest.hexdigest()[:16]


class _LimitedFile(io.FileIO):
    """A zip file that limits its central directory, which zipfile reads at once."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path)
        self.limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        if (size or 0) > self.limits.directory_bytes:
            raise _too_many_entries(self.limits, "far more")
        block = super().read(size)
        if (entries := block.count(_ENTRY)) > self.limits.members:
            raise _too_many_entries(self.limits, f"{entries:,}")
        return block


def _too_many_entries(limits: Limits, found: str) -> ArchiveError:
    return ArchiveError(
        f"Expected a zip of at most {limits.members:,} entries, found {found}: bring fewer files, or unpack it and use "
        "the command line on the folder."
    )


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    with _LimitedFile(path, limits) as file:
        try:
            archive = zipfile.ZipFile(file)
        except ArchiveError:
            raise
        except (*_DAMAGED, OSError, OverflowError, MemoryError):
            raise ArchiveError(
                f"{quoted(path.name)} is not a zip, or was cut off on its way: make it again and bring the whole file."
            ) from None
        with archive:
            yield archive


def _members(infos: Iterable[zipfile.ZipInfo], limits: Limits) -> tuple[list[Member], list[Skipped]]:
    """The entries to inflate as (name, entry), and those to skip; nothing is inflated."""
    members: dict[str, zipfile.ZipInfo] = {}
    skipped: list[Skipped] = []
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        name = str(path)
        if info.is_dir() or (".." not in path.parts and hidden(path.parts)):
            continue
        reason = _skip_reason(info, path, limits) or ("its name is in the zip twice" if name in members else None)
        if reason:
            skipped.append(Skipped(shortened(name), reason))
            continue
        _check_member(info, name, limits)
        members[name] = info
    total = sum(info.file_size for info in members.values())
    if total > limits.unpacked_bytes:
        raise ArchiveError(
            f"Expected a zip that unpacks to at most {bytes_in_words(limits.unpacked_bytes)}, this one would fill "
            f"{bytes_in_words(total)}: bring fewer or smaller pictures."
        )
    if not members:
        first = f" ({quoted(skipped[0].name)} was passed over: {skipped[0].reason})" if skipped else ""
        raise ArchiveError(
            f"The zip holds no pictures{first}: put the pictures of each class in a folder and zip those."
        )
    return sorted(members.items()), skipped


def _skip_reason(info: zipfile.ZipInfo, path: PurePosixPath, limits: Limits) -> str | None:
    """Why an entry is not unpacked; None when it is."""
    name, kind = str(path), stat.S_IFMT(info.external_attr >> 16)
    text = path.suffix.lower() in TEXTS
    reasons = {
        "its path leads out of the zip": ".." in path.parts or path.is_absolute() or name[1:2] == ":",
        "it is a link": kind == stat.S_IFLNK,
        "it is no ordinary file": kind not in (0, stat.S_IFREG, stat.S_IFLNK),
        f"its name is longer than {limits.name_length} characters": len(name) > limits.name_length,
        f"it lies more than {limits.depth} folders deep": len(path.parts) > limits.depth,
        "an archive inside the zip is not opened": path.suffix.lower() in ARCHIVES,
        "it is not a picture": not text and path.suffix.lower() not in SUFFIXES,
        f"it is larger than {bytes_in_words(limits.member_bytes)}": info.file_size > limits.member_bytes,
        f"it is a text of over {bytes_in_words(limits.text_bytes)}": text and info.file_size > limits.text_bytes,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _check_member(info: zipfile.ZipInfo, name: str, limits: Limits) -> None:
    """Raises ArchiveError for an entry that makes the whole zip unusable."""
    if info.flag_bits & 0x1:
        raise ArchiveError(f"The zip is encrypted ({quoted(name)} needs a password): bring one without a password.")
    if info.compress_type not in _READABLE:
        raise ArchiveError(
            f"{quoted(name)} is compressed by a method other than Deflate (number {info.compress_type}): make the zip "
            "again with ordinary compression."
        )
    if info.file_size > limits.ratio_from and info.file_size > limits.ratio * max(info.compress_size, 1):
        raise ArchiveError(
            f"{quoted(name)} would unpack to more than {limits.ratio} times its size, as zip bombs do and pictures do "
            "not: leave it out."
        )


def _inflate(
    archive: zipfile.ZipFile, members: list[Member], skipped: list[Skipped], draft: Path, tick: Tick | None
) -> dict[str, Any]:
    """Writes every member under a number; returns the manifest of the folder."""
    files: list[tuple[str, str, tuple[int, int] | None]] = []
    faults: dict[str, str] = {}
    for n, (name, info) in enumerate(members):
        suffix = PurePosixPath(name).suffix.lower()
        target = draft / f"{n:06d}{suffix}"
        try:
            _copy(archive, info, target)
            files.append((name, target.name, None if suffix in TEXTS else check_header(target, "it")))
        except (ImageError, *_DAMAGED) as error:
            target.unlink(missing_ok=True)
            reason = str(error).removesuffix(".") if isinstance(error, ImageError) else "it is damaged in the zip"
            if suffix in TEXTS:
                skipped.append(Skipped(shortened(name), reason))
            else:
                faults[name] = reason
        if tick:
            tick(n + 1, len(members))
    return {"files": files, "faults": faults, "skipped": skipped}


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    if info.file_size == 0:
        raise ImageError("it is empty.")
    count = 0
    with open(target, "xb") as out:
        for block in _blocks(archive, info):
            count += len(block)
            if count > info.file_size:  # the limits were checked with this size
                raise zipfile.BadZipFile
            out.write(block)


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of an entry; a place in the zip that is not there is damage of the zip, no fault of the disk."""
    try:
        with archive.open(info) as source:
            while block := source.read(MB):
                yield block
    except (OSError, OverflowError, MemoryError):
        raise zipfile.BadZipFile from None
