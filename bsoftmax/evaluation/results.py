"""From records of images to results: every column and metric with its interval and its difference from the baseline.

One pass over the records for the numbers, another for each map's pixel counts, which are too many to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metrics
from .aggregate import NAMES, Entry, Measured, load
from .column import Column, contrasts
from .localization import EDGES, LEVELS, Protocol
from .statistics import GRAIN, ROUNDS, bootstrap, interval, mean, shares

FORMAT = "bsoftmax-results/1"
GALLERY, SHOWN = ("average_drop", "gt_loc", "pointing"), 8
IOUS = ("largest, IoU .5", "any, IoU .3", "any, IoU .5", "any, IoU .7")
POINTS = slice(0, 1001, 10)  # of a precision-recall curve: every tenth threshold
Read = Callable[[], Iterable[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One metric of one column: its value, its bootstrap rounds, and each image's number where it is a mean."""

    value: float
    rounds: np.ndarray
    n: int
    each: np.ndarray | None = None  # [total], NaN where the image does not count

    def json(self) -> dict[str, float]:
        """Value and 95 % interval."""
        low, high = (round(float(end), 9) for end in interval(self.rounds))  # a sum's crumbs are no difference from 0
        return {"value": self.value, "low": low, "high": high, "n": self.n}


def cells(found: Measured, read: Read, entry: Entry, rule: Protocol, seed: int, rounds: int) -> dict[str, Cell]:
    """Every metric of a column, those of the same images in the same bootstrap rounds."""
    own = {"image": "", "looks": entry.look, "places": entry.place}
    each = {name: values for (part, key, name), values in found.values.items() if own[part] == key}
    out: dict[str, Cell] = {}
    shared: dict[bytes, list[str]] = {}
    for name in each.keys() - {"hits", "counts"}:
        shared.setdefault(np.isfinite(each[name]).tobytes(), []).append(name)
    for names in shared.values():
        places = np.flatnonzero(np.isfinite(each[names[0]]))
        rows = np.stack([each[name][places] for name in names], 1)
        found_rounds, values = bootstrap(rows, mean, rounds, seed), mean(rows.sum(0), len(rows))
        for m, name in enumerate(names):
            out[name] = Cell(float(values[m]), found_rounds[:, m], len(rows), each[name])
    if entry.place in found.hits:
        rows = np.unpackbits(found.hits[entry.place][np.isfinite(each["hits"])], axis=1)
        out |= _of_rows(rows.view(bool).reshape(len(rows), -1, LEVELS), {
            "max_box_acc": lambda sums, n: metrics.max_box_acc(sums, n, rule),
            "max_box_acc_v2": lambda sums, n: metrics.max_box_acc_v2(sums, n, rule)}, seed, rounds)  # fmt: skip
    if entry.place in found.pixels and (rows := counts(read, entry.place))[:, 0].any():
        out |= _of_rows(rows, {"px_ap": lambda sums, n: metrics.px_ap(sums)}, seed, rounds)
    return {name: out[name] for name in NAMES if name in out}


def counts(read: Read, place: str) -> np.ndarray:
    """The pixel counts of one map of all images that have them, in the order of their places: [m,2,1002]."""
    rows = {r["i"]: r["places"][place]["counts"] for r in read() if "counts" in r.get("places", {}).get(place, {})}
    return np.stack([metrics.unpack_counts(rows[n]).astype(np.uint32) for n in sorted(rows)])


def _of_rows(rows: np.ndarray, statistics: dict[str, Callable], seed: int, rounds: int) -> dict[str, Cell]:
    def every(sums: np.ndarray, n: int) -> np.ndarray:
        return np.stack([statistic(sums, n) for statistic in statistics.values()], -1)

    found = bootstrap(rows, every, rounds, seed)
    values = every(rows.sum(0, dtype=np.float64), len(rows))
    return {name: Cell(float(values[m]), found[:, m], len(rows)) for m, name in enumerate(statistics)}


def collect(
    read: Read, entries: tuple[Entry, ...], rule: Protocol, total: int, seed: int = 0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Everything results.json says of the numbers: n, images counted out, and one entry a column.

    `read()` gives the records anew. The same records give the same to the bit, in whatever order. Raises ValueError
    when no image was measured.
    """
    found = load(read(), total)
    if not found.names:
        why = next(iter(found.unreadable.values()), ("", "none was looked at"))[1]
        raise ValueError(f"None of the {total} images could be measured: {why.rstrip('.')[:200]}.")
    made: dict[tuple[str, str], dict[str, Cell]] = {}
    for e in entries:
        if (e.look, e.place) not in made:
            made[e.look, e.place] = cells(found, read, e, rule, seed, rounds)
    of = {e.column: made[e.look, e.place] for e in entries}
    firsts: dict[tuple[str, str], str] = {}
    columns = []
    for e in entries:
        first = firsts.setdefault((e.look, e.place), e.column.key)
        same = None if first == e.column.key else first
        base = e.column.baseline if e.column.baseline in of and e.column.baseline != e.column else None
        columns.append(_column(found, e, of[e.column], base and (base, of[base])) | {"same_as": same})
    lost = [list(found.unreadable[n]) for n in sorted(found.unreadable)]

    def apart(a: Column, b: Column) -> dict[str, Any] | None:
        if a not in of or b not in of or of[a] is of[b]:
            return None
        return {name: _apart(cell, of[b][name]).json() for name, cell in of[a].items()}

    questions = contrasts(list(dict.fromkeys(c["method"] for c in columns if c["same_as"] is None)), apart)
    return {"n": len(found.names), "asked": total, "unreadable": lost, "columns": columns, "contrasts": questions}


def _apart(cell: Cell, base: Cell) -> Cell:
    return Cell(cell.value - base.value, cell.rounds - base.rounds, cell.n)


def _column(found: Measured, entry: Entry, mine: dict[str, Cell], base: Any) -> dict[str, Any]:
    c = entry.column
    out: dict[str, Any] = {"key": c.key, "method": c.method, "source": c.source, "clamp": c.clamp}
    out |= {"look": entry.look, "place": entry.place, "baseline": None}
    out |= {"metrics": {name: cell.json() for name, cell in mine.items()}, "curves": _curves(found, entry)}
    out |= {"difference": {}, "shares": {}, "gallery": {}}
    if base:
        out["baseline"] = base[0].key
        for name, cell in mine.items():
            _against(found, out, name, cell, base[1][name])
    return out


def _against(found: Measured, out: dict[str, Any], name: str, cell: Cell, base: Cell) -> None:
    out["difference"][name] = _apart(cell, base).json()
    higher = metrics.find(name).higher_is_better
    if cell.each is None or base.each is None or higher is None:
        return
    places = np.flatnonzero(np.isfinite(cell.each))
    out["shares"][name] = shares(cell.each[places], base.each[places], higher)
    if name in GALLERY:
        gain = (cell.each - base.each)[places] * (1 if higher else -1)
        ranked = places[np.argsort(gain, kind="stable")].tolist()  # of equals, the first by name
        row = lambda n: {"image": found.names[n], "value": float(cell.each[n]), "baseline": float(base.each[n])}  # noqa: E731
        out["gallery"][name] = {
            "best": [row(n) for n in ranked[::-1][:SHOWN]],
            "worst": [row(n) for n in ranked[:SHOWN]],
        }


def _curves(found: Measured, entry: Entry) -> dict[str, Any]:
    """Confidence along the way of Deletion and Insertion, box accuracy by level, precision and recall by threshold."""
    out: dict[str, Any] = {
        kind: (rows.sums / GRAIN / rows.n).tolist() for (look, kind), rows in found.curves.items() if look == entry.look
    }
    if entry.place in found.hits:
        known = found.values["places", entry.place, "hits"]
        bits = np.unpackbits(found.hits[entry.place][np.isfinite(known)], axis=1)
        share = metrics.box_accuracy(bits.sum(0, dtype=np.int64).reshape(-1, LEVELS), len(bits))
        out["box_accuracy"] = dict(zip(IOUS, share.round(6).tolist()))
    if entry.place in found.pixels and found.pixels[entry.place].sums[0].any():
        both = [c[::-1][POINTS].round(6).tolist() for c in metrics.precision_recall(found.pixels[entry.place].sums)]
        out["precision_recall"] = {"threshold": EDGES[POINTS].tolist(), "precision": both[0], "recall": both[1]}
    return out
