"""One JSON line an image, appended and flushed: what a killed evaluation goes on from, and what results are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import metrics
from .column import Column
from .localization import LEVELS, Protocol
from .metrics import METRICS
from .statistics import GRAIN, Rows, Total

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


NAMES = tuple(name for metric in METRICS.values() for name in metric.names())


@dataclass(frozen=True)
class Entry:
    """A column and where its numbers stand in a record."""

    column: Column
    look: str
    place: str


def numbers_of(record: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """All that one image says of a column."""
    found = record["looks"][entry.look] | record.get("places", {}).get(entry.place, {})
    return found | ({"top1_cls": 100.0 * record["right"]} if "right" in record else {})


@dataclass
class Running:
    """The table so far, in memory that does not grow with the images: values without intervals."""

    entries: tuple[Entry, ...]
    rule: Protocol
    n: int = 0
    unreadable: int = 0
    totals: dict[tuple[str, str], Total] = field(default_factory=dict)
    rows: dict[tuple[str, str], Rows] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """With one image more."""
        if "unreadable" in record:
            self.unreadable += 1
            return
        self.n += 1
        for entry in self.entries:
            key = entry.column.key
            for name, value in numbers_of(record, entry).items():
                if name in ("hits", "counts"):
                    row = metrics.unpack_hits(value) if name == "hits" else metrics.unpack_counts(value)
                    self.rows[key, name] = self.rows.get((key, name), Rows.empty(*row.shape)).add(row)
                elif name != "curves":
                    self.totals[key, name] = self.totals.get((key, name), Total()).add(value)

    def table(self) -> list[dict[str, Any]]:
        """One row a column: its key and its metrics' values."""
        out = []
        for key in dict.fromkeys(entry.column.key for entry in self.entries):
            values = {name: total.mean for (k, name), total in self.totals.items() if k == key}
            if rows := self.rows.get((key, "hits")):
                values["max_box_acc"] = float(metrics.max_box_acc(rows.sums, rows.n, self.rule))
                values["max_box_acc_v2"] = float(metrics.max_box_acc_v2(rows.sums, rows.n, self.rule))
            if (rows := self.rows.get((key, "counts"))) and rows.sums[0].any():
                values["px_ap"] = float(metrics.px_ap(rows.sums))
            out.append({"column": key, "metrics": {name: values[name] for name in NAMES if name in values}})
        return out


@dataclass
class Measured:
    """What the images said, in the order of their places: one array a column and metric; NaN where there is none."""

    names: dict[int, str] = field(default_factory=dict)
    unreadable: dict[int, tuple[str, str]] = field(default_factory=dict)
    values: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)  # (part, entry, metric) -> [total]
    hits: dict[str, np.ndarray] = field(default_factory=dict)  # place -> bits [total,128]
    pixels: dict[str, Rows] = field(default_factory=dict)  # place -> summed pixel counts
    curves: dict[tuple[str, str], Rows] = field(default_factory=dict)  # (look, kind) -> whole steps


def load(records: Iterable[dict[str, Any]], total: int) -> Measured:
    """Reads every record once: about 300 bytes an image and distinct map."""
    out = Measured()
    for record in records:
        n = record["i"]
        if "unreadable" in record:
            out.unreadable[n] = (record["image"], record["unreadable"])
            continue
        out.names[n] = record["image"]
        if "right" in record:
            _put(out, ("image", "", "top1_cls"), n, 100.0 * record["right"], total)
        for part in ("looks", "places"):
            for entry, numbers in record.get(part, {}).items():
                for name, value in numbers.items():
                    _take(out, part, entry, name, n, value, total)
    return out


def _take(out: Measured, part: str, entry: str, name: str, n: int, value: Any, total: int) -> None:
    if name == "hits":
        if entry not in out.hits:
            out.hits[entry] = np.zeros((total, LEVELS // 2), dtype=np.uint8)
        out.hits[entry][n] = np.frombuffer(bytes.fromhex(value), dtype=np.uint8)
        _put(out, (part, entry, name), n, 1.0, total)
    elif name == "counts":
        row = metrics.unpack_counts(value)
        out.pixels[entry] = out.pixels.get(entry, Rows.empty(*row.shape)).add(row)
    elif name == "curves":
        for kind, points in value.items():  # whole steps, so that no order of the records changes the sum
            rows = out.curves.get((entry, kind), Rows.empty(len(points)))
            out.curves[entry, kind] = rows.add(np.rint(np.array(points) * GRAIN).astype(np.int64))
    else:
        _put(out, (part, entry, name), n, value, total)


def _put(out: Measured, key: tuple[str, str, str], n: int, value: float, total: int) -> None:
    if key not in out.values:
        out.values[key] = np.full(total, np.nan)
    out.values[key][n] = value
