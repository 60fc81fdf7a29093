"""The records of an evaluation, one JSON line an image, and the arrays and sums made of them.

Each rank appends to its own file, from which a killed evaluation resumes. A record has the numbers of every distinct
map: under "looks" those that do not depend on how it is upsampled for localisation, under "places" those that do.
"""

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

Record = dict[str, Any]
PATTERN = "records-*.jsonl"
STEPS_PER_UNIT = 1 << 40  # sums are in fixed point, multiples of 2^-40, so that the order of adding does not matter


@dataclass(frozen=True)
class ExactSum:
    """The sum of n numbers, each rounded to a multiple of 2^-40: the same bits in any order."""

    n: int = 0
    steps: int = 0

    def add(self, value: float) -> ExactSum:
        """The sum with one more number. Raises ValueError for NaN or infinity."""
        if not np.isfinite(value):
            raise ValueError(f"Expected a finite number to average, got {value}.")
        return ExactSum(self.n + 1, self.steps + round(value * STEPS_PER_UNIT))

    @property
    def mean(self) -> float:
        """The mean. Raises ValueError where n is 0."""
        if not self.n:
            raise ValueError("There is nothing to average: no image was measured.")
        return self.steps / STEPS_PER_UNIT / self.n


@dataclass(frozen=True, eq=False)
class RowSum:
    """The sum of n arrays of integers: hits or pixel counts."""

    n: int
    sums: np.ndarray

    def add(self, row: np.ndarray) -> RowSum:
        """The sum with one more row of the same shape."""
        return RowSum(self.n + 1, self.sums + row)

    @classmethod
    def empty(cls, *shape: int) -> RowSum:
        """The sum of no rows of a shape."""
        return cls(0, np.zeros(shape, dtype=np.int64))


def merge(a: ExactSum | RowSum, b: ExactSum | RowSum) -> ExactSum | RowSum:
    """The sum of both. Raises ValueError for two different types."""
    if isinstance(a, ExactSum) and isinstance(b, ExactSum):
        return ExactSum(a.n + b.n, a.steps + b.steps)
    if isinstance(a, RowSum) and isinstance(b, RowSum):
        return RowSum(a.n + b.n, a.sums + b.sums)
    raise ValueError(f"Expected two of one kind to merge, got {type(a).__name__} and {type(b).__name__}.")


@dataclass(frozen=True)
class Entry:
    """A column and the keys of its numbers in a record's "looks" and "places"."""

    column: Column
    map_key: str
    scaled_key: str

    def numbers(self, record: Record) -> dict[str, Any]:
        """All numbers of the column in a record."""
        numbers: dict[str, Any] = record["looks"][self.map_key] | record.get("places", {}).get(self.scaled_key, {})
        return numbers | ({"top1_cls": 100.0 * record["right"]} if "right" in record else {})


def open_records(folder: Path, rank: int, header: Record) -> IO[bytes]:
    """Opens a rank's file for appending, truncated to its last complete line; a new one begins with the header."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / f"records-{rank}.jsonl", "a+b")  # noqa: SIM115 (the caller closes it)
    file.truncate(_end_of_last_line(file))
    if not file.tell():
        append(file, [header])
    return file


def _end_of_last_line(file: IO[bytes]) -> int:
    """The offset behind the last newline, to which the file is moved."""
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
    """Every image recorded by any rank, in no order, each once; an incomplete last line is skipped.

    Raises ValueError when the records are of another run.
    """
    seen: set[int] = set()
    for path in sorted(folder.glob(PATTERN)):
        with open(path, "rb") as file:
            line = next(file, b"")
            if not line.endswith(b"\n"):
                continue
            if _parse(line, path).get("key") != key:
                raise ValueError(
                    f"{str(folder)!r} holds records of another evaluation (other images, model or options): name "
                    "another folder with --out, or delete it."
                )
            for line in file:
                if line.endswith(b"\n") and (record := _parse(line, path))["i"] not in seen:
                    seen.add(record["i"])
                    yield record


def read_header(folder: Path) -> Record | None:
    """The header of the records in a folder; None where there are none."""
    for path in sorted(folder.glob(PATTERN)):
        with open(path, "rb") as file:
            if (line := next(file, b"")).endswith(b"\n"):
                return _parse(line, path)
    return None


def _parse(line: bytes, path: Path) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not record.keys() & {"key", "i"}:
        raise ValueError(f"{path.name!r} in {str(path.parent)!r} has a damaged line: delete that file and run again.")
    return record


@dataclass
class RunningTable:
    """The table so far, without intervals, in memory that does not grow with the number of images."""

    entries: tuple[Entry, ...]
    rule: Protocol
    n: int = 0
    unreadable: int = 0
    totals: dict[tuple[str, str], ExactSum] = field(default_factory=dict)
    rows: dict[tuple[str, str], RowSum] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Adds one image."""
        if "unreadable" in record:
            self.unreadable += 1
            return
        self.n += 1
        for entry in self.entries:
            key = entry.column.key
            for name, value in entry.numbers(record).items():
                if name in ("hits", "counts"):
                    row = metrics.unpack_hits(value) if name == "hits" else metrics.unpack_counts(value)
                    self.rows[key, name] = self.rows.get((key, name), RowSum.empty(*row.shape)).add(row)
                elif name != "curves":
                    self.totals[key, name] = self.totals.get((key, name), ExactSum()).add(value)

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
            out.append({"column": key, "metrics": {name: values[name] for name in metrics.names() if name in values}})
        return out


@dataclass
class RecordArrays:
    """The records as arrays over images, one a map and metric, NaN where a number is missing."""

    total: int
    names: dict[int, str] = field(default_factory=dict)
    unreadable: dict[int, tuple[str, str]] = field(default_factory=dict)
    values: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)  # (part, key, metric) -> [total]
    hits: dict[str, np.ndarray] = field(default_factory=dict)  # scaled key -> packed bits [total,128]
    pixels: dict[str, RowSum] = field(default_factory=dict)  # scaled key -> summed pixel counts
    curves: dict[tuple[str, str], RowSum] = field(default_factory=dict)  # (map key, kind) -> sums in fixed point

    def add(self, record: Record) -> None:
        """Adds one image."""
        n = record["i"]
        if "unreadable" in record:
            self.unreadable[n] = (record["image"], record["unreadable"])
            return
        self.names[n] = record["image"]
        if "right" in record:
            self._put(("image", "", "top1_cls"), n, 100.0 * record["right"])
        for part in ("looks", "places"):
            for key, numbers in record.get(part, {}).items():
                for name, value in numbers.items():
                    self._add(part, key, name, n, value)

    def _add(self, part: str, key: str, name: str, n: int, value: Any) -> None:
        if name == "hits":
            if key not in self.hits:
                self.hits[key] = np.zeros((self.total, LEVELS // 2), dtype=np.uint8)
            self.hits[key][n] = np.frombuffer(bytes.fromhex(value), dtype=np.uint8)
            self._put((part, key, name), n, 1.0)
        elif name == "counts":
            row = metrics.unpack_counts(value)
            self.pixels[key] = self.pixels.get(key, RowSum.empty(*row.shape)).add(row)
        elif name == "curves":
            for kind, points in value.items():
                rows = self.curves.get((key, kind), RowSum.empty(len(points)))
                self.curves[key, kind] = rows.add(np.rint(np.array(points) * STEPS_PER_UNIT).astype(np.int64))
        else:
            self._put((part, key, name), n, value)

    def _put(self, key: tuple[str, str, str], n: int, value: float) -> None:
        if key not in self.values:
            self.values[key] = np.full(self.total, np.nan)
        self.values[key][n] = value


def load(records: Iterable[Record], total: int) -> RecordArrays:
    """Reads every record once: about 300 bytes an image and distinct map."""
    out = RecordArrays(total)
    for record in records:
        out.add(record)
    return out
