"""One JSON line an image, appended and flushed: what a killed evaluation goes on from, and what results are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

Record = dict[str, Any]
PATTERN = "records-*.jsonl"


def write_head(folder: Path, rank: int, head: Record) -> IO[bytes]:
    """Opens a rank's file to append to, cut back to its last whole line, with the head line if it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / f"records-{rank}.jsonl", "a+b")  # noqa: SIM115 (the caller closes it)
    file.truncate(_whole(file))
    if not file.tell():
        append(file, [head])
    return file


def _whole(file: IO[bytes]) -> int:
    """Bytes up to the end of the last whole line; the file is left standing there."""
    end = file.seek(0, 2)
    while end > 0:
        start = max(0, end - (1 << 16))
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return file.seek(start + found + 1)
        end = start
    return file.seek(0)


def append(file: IO[bytes], records: Iterable[Record]) -> None:
    """Writes the lines of some images at once and flushes them."""
    file.write(b"".join(json.dumps(record, allow_nan=False).encode() + b"\n" for record in records))
    file.flush()


def read(folder: Path, key: str) -> Iterator[Record]:
    """Every image recorded by any rank, in no order, each once; a torn last line is passed over.

    Raises ValueError when the records are of another run.
    """
    seen: set[int] = set()
    for path in sorted(folder.glob(PATTERN)):
        with open(path, "rb") as file:
            head = next(file, b"")
            if not head.endswith(b"\n"):
                continue
            if _parsed(head, path).get("key") != key:
                raise ValueError(
                    f"{str(folder)!r} holds records of another evaluation (other images, model or options): name "
                    "another folder with --out, or delete it."
                )
            for line in file:
                if line.endswith(b"\n") and (record := _parsed(line, path))["i"] not in seen:
                    seen.add(record["i"])
                    yield record


def head_of(folder: Path) -> Record | None:
    """The head line of the records in a folder; None where there are none."""
    for path in sorted(folder.glob(PATTERN)):
        with open(path, "rb") as file:
            if (line := next(file, b"")).endswith(b"\n"):
                return _parsed(line, path)
    return None


def _parsed(line: bytes, path: Path) -> Record:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() & {"key", "i"}:
        raise ValueError(f"{path.name!r} in {str(path.parent)!r} has a damaged line: delete that file and run again.")
    return found
