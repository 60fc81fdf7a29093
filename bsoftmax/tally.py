"""The numbers of images brought together: sums as they come, in memory that does not grow, or an array a metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import metrics
from .columns import Column
from .localization import LEVELS, Protocol
from .metrics import METRICS
from .statistics import GRAIN, Rows, Total

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
