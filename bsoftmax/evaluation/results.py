"""From records to results: every column and metric with its interval and its difference from the baseline.

One pass over the records for the numbers, another for each map's pixel counts, which are too many for memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import metrics
from .aggregate import STEPS_PER_UNIT, Entry, Record, RecordArrays, load
from .column import Column, best, contrasts
from .localization import EDGES, LEVELS, Protocol
from .statistics import ALPHA, ROUNDS, Estimate, bootstrap, holm, pseudo_values, shares

FORMAT = "bsoftmax-results/1"
GALLERY_METRICS, GALLERY_SIZE = ("average_drop", "gt_loc", "pointing"), 8
IOUS = ("largest, IoU .5", "any, IoU .3", "any, IoU .5", "any, IoU .7")
POINTS = slice(0, 1001, 10)  # of a precision-recall curve: every tenth threshold
Read = Callable[[], Iterable[Record]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One metric of one column: an estimate, and, if it is a mean, every image's number."""

    estimate: Estimate
    per_image: np.ndarray | None = None  # [total], NaN where it is missing

    def minus(self, other: Cell) -> Cell:
        """The paired difference of two cells of the same images; certainly 0 where both are one set of numbers."""
        one = self.per_image is not None and self.per_image is other.per_image
        return Cell(self.estimate.minus(self.estimate if one else other.estimate))

    def json(self) -> dict[str, float]:
        """Value and 95 % interval; of a difference also `p`, unless both are the same numbers by construction."""
        found = self.estimate
        low, high = (round(end, 9) for end in found.interval())  # rounding errors are no difference from 0
        out = {"value": found.value, "low": low, "high": high, "n": found.n}
        return out | {"p": found.p_value()} if found.paired and not found.certain else out


def cells(arrays: RecordArrays, read: Read, entry: Entry, rule: Protocol, seed: int, rounds: int) -> dict[str, Cell]:
    """Every metric of a column; those of the same images have the same bootstrap rounds."""
    keys = {"image": "", "looks": entry.map_key, "places": entry.scaled_key}
    per_image = {name: values for (part, key, name), values in arrays.values.items() if keys[part] == key}
    out = {name: _mean_cell(name, values) for name, values in per_image.items() if name not in ("hits", "counts")}
    if entry.scaled_key in arrays.hits:
        rows = np.unpackbits(arrays.hits[entry.scaled_key][np.isfinite(per_image["hits"])], axis=1)
        out |= _best_cells(rows.view(bool).reshape(len(rows), -1, LEVELS), rule, seed, rounds)
    if entry.scaled_key in arrays.pixels and (rows := _pixel_counts(read, entry.scaled_key))[:, 0].any():
        out["px_ap"] = _pooled_cell("px_ap", rows)
    return {name: out[name] for name in metrics.names() if name in out}


def _mean_cell(name: str, per_image: np.ndarray) -> Cell:
    values = per_image[np.isfinite(per_image)]
    return Cell(Estimate(float(values.mean()), len(values), metrics.find(name).limits, values), per_image)


def _best_cells(rows: np.ndarray, rule: Protocol, seed: int, rounds: int) -> dict[str, Cell]:
    """MaxBoxAcc and V2 of hits [n,4,256], whose threshold is chosen again in every round."""
    names, n = ("max_box_acc", "max_box_acc_v2"), len(rows)

    def both(sums: np.ndarray, n: int) -> np.ndarray:
        return np.stack([metrics.max_box_acc(sums, n, rule), metrics.max_box_acc_v2(sums, n, rule)], -1)

    values, drawn = both(rows.sum(0, dtype=np.float64), n), bootstrap(rows, both, rounds, seed)
    found = zip(names, values, drawn.T)
    return {name: Cell(Estimate(float(v), n, metrics.find(name).limits, rounds=r)) for name, v, r in found}


def _pooled_cell(name: str, rows: np.ndarray) -> Cell:
    """PxAP of pixel counts [n,2,1002]."""
    value, values = float(metrics.px_ap(rows.sum(0, dtype=np.float64))), pseudo_values(rows, _px_ap)
    return Cell(Estimate(value, len(rows), metrics.find(name).limits, values))


def _px_ap(sums: np.ndarray, n: int) -> np.ndarray:
    return metrics.px_ap(sums)


def _pixel_counts(read: Read, key: str) -> np.ndarray:
    """The pixel counts of one scaled map, of the images that have them, in order: [m,2,1002]."""
    rows = {r["i"]: r["places"][key]["counts"] for r in read() if "counts" in r.get("places", {}).get(key, {})}
    return np.stack([metrics.unpack_counts(rows[n]).astype(np.uint32) for n in sorted(rows)])


def collect(
    read: Read, entries: tuple[Entry, ...], rule: Protocol, total: int, seed: int = 0, rounds: int = ROUNDS
) -> dict[str, Any]:
    """The numbers of results.json: n, unreadable images, one entry a column, contrasts, their families, best columns.

    Every difference has `p`, and `p_holm` where its metric can be better or worse: Holm's correction over a family, one
    question (or one source and clamp against the baseline) with all its methods and metrics, those of the same maps
    counted once. "families" has for every question the number of `comparisons`, of those whose interval `alone` leaves
    out 0, and of those with `p_holm` below 5 %, `together`. `read()` iterates over the records; their order does not
    change a bit. Raises ValueError when no image was measured.
    """
    arrays = load(read(), total)
    if not arrays.names:
        reason = next(iter(arrays.unreadable.values()), ("", "none was looked at"))[1]
        raise ValueError(f"None of the {total} images could be measured: {reason.rstrip('.')[:200]}.")
    computed: dict[tuple[str, str], dict[str, Cell]] = {}
    for e in entries:
        if (e.map_key, e.scaled_key) not in computed:
            computed[e.map_key, e.scaled_key] = cells(arrays, read, e, rule, seed, rounds)
    by_column = {e.column: computed[e.map_key, e.scaled_key] for e in entries}
    firsts: dict[tuple[str, str], str] = {}
    columns = []
    for e in entries:
        first = firsts.setdefault((e.map_key, e.scaled_key), e.column.key)
        same = None if first == e.column.key else first
        baseline = by_column.get(e.column.baseline) if e.column.baseline != e.column else None
        columns.append(_column(arrays, e, by_column[e.column], baseline) | {"same_as": same})

    def difference(a: Column, b: Column) -> dict[str, Any] | None:
        if a not in by_column or b not in by_column or by_column[a] is by_column[b]:
            return None
        return {name: cell.minus(by_column[b][name]).json() for name, cell in by_column[a].items()}

    distinct = list(dict.fromkeys(c["method"] for c in columns if c["same_as"] is None))
    found = contrasts(distinct, difference)
    leading = best([column for column in by_column if column.method in distinct], difference, higher_is_better)
    unreadable = [list(arrays.unreadable[n]) for n in sorted(arrays.unreadable)]
    out = {
        "n": len(arrays.names),
        "asked": total,
        "unreadable": unreadable,
        "columns": columns,
        "contrasts": found,
        "best": leading,
    }
    return out | {"families": correct(columns, found)}


def correct(columns: Sequence[dict[str, Any]], contrasts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds `p_holm` to the differences of columns and contrasts; returns the families of the contrasts."""
    maps = {c["key"]: (c["look"], c["place"]) for c in columns}
    for kind in {(c["source"], c["clamp"]) for c in columns}:
        of_kind = [c for c in columns if (c["source"], c["clamp"]) == kind and c["baseline"]]
        _correct((maps[c["key"]], maps[c["baseline"]], c["difference"]) for c in of_kind)
    out = []
    for question in dict.fromkeys(c["question"] for c in contrasts):
        asked = [c for c in contrasts if c["question"] == question]
        members = ((*(maps[key] for key in c["of"]), c["difference"]) for c in asked)
        out.append({"question": question, **_correct(members)})
    return out


def _correct(members: Iterable[tuple[Any, Any, dict[str, dict[str, float]]]]) -> dict[str, int]:
    """Adds `p_holm` to the differences of a family: of (one map, another, difference by metric)."""
    family: dict[tuple[Any, Any, str], list[dict[str, float]]] = {}
    for one, other, differences in members:
        for name, cell in differences.items():
            if "p" in cell and metrics.find(name).higher_is_better is not None:
                family.setdefault((one, other, name), []).append(cell)
    adjusted = holm([same[0]["p"] for same in family.values()])
    for same, p in zip(family.values(), adjusted):
        for cell in same:
            cell["p_holm"] = p
    alone = sum(not same[0]["low"] <= 0 <= same[0]["high"] for same in family.values())
    return {"comparisons": len(family), "alone": alone, "together": sum(p < ALPHA for p in adjusted)}


def higher_is_better(name: str) -> bool | None:
    """Whether a metric's higher value is better; None: neither."""
    return metrics.find(name).higher_is_better


def _column(
    arrays: RecordArrays, entry: Entry, mine: dict[str, Cell], baseline: dict[str, Cell] | None
) -> dict[str, Any]:
    c = entry.column
    out: dict[str, Any] = {"key": c.key, "method": c.method, "source": c.source, "clamp": c.clamp}
    out |= {"look": entry.map_key, "place": entry.scaled_key, "baseline": None}
    out |= {"metrics": {name: cell.json() for name, cell in mine.items()}, "curves": _curves(arrays, entry)}
    out |= {"difference": {}, "shares": {}, "gallery": {}}
    if baseline is not None:
        out["baseline"] = c.baseline.key
        for name, cell in mine.items():
            _compare(arrays, out, name, cell, baseline[name])
    return out


def _compare(arrays: RecordArrays, out: dict[str, Any], name: str, cell: Cell, baseline: Cell) -> None:
    """Adds the difference from the baseline, the shares of images and, for some metrics, the most extreme images."""
    out["difference"][name] = cell.minus(baseline).json()
    higher, mine, theirs = metrics.find(name).higher_is_better, cell.per_image, baseline.per_image
    if mine is None or theirs is None or higher is None:
        return
    index = np.flatnonzero(np.isfinite(mine))
    out["shares"][name] = shares(mine[index], theirs[index], higher)
    if name in GALLERY_METRICS:
        gain = (mine - theirs)[index] * (1 if higher else -1)
        ranked = index[np.argsort(gain, kind="stable")].tolist()  # ties in the order of the images
        out["gallery"][name] = {
            which: [{"image": arrays.names[n], "value": float(mine[n]), "baseline": float(theirs[n])} for n in index]
            for which, index in (("best", ranked[::-1][:GALLERY_SIZE]), ("worst", ranked[:GALLERY_SIZE]))
        }


def _curves(arrays: RecordArrays, entry: Entry) -> dict[str, Any]:
    """Confidence by step of Deletion and Insertion, box accuracy by level, precision and recall by threshold."""
    key = entry.scaled_key
    out: dict[str, Any] = {
        kind: (rows.sums / STEPS_PER_UNIT / rows.n).tolist()
        for (map_key, kind), rows in arrays.curves.items()
        if map_key == entry.map_key
    }
    if key in arrays.hits:
        bits = np.unpackbits(arrays.hits[key][np.isfinite(arrays.values["places", key, "hits"])], axis=1)
        share = metrics.box_accuracy(bits.sum(0, dtype=np.int64).reshape(-1, LEVELS), len(bits))
        out["box_accuracy"] = dict(zip(IOUS, share.round(6).tolist()))
    if key in arrays.pixels and arrays.pixels[key].sums[0].any():
        precision, recall = (
            c[::-1][POINTS].round(6).tolist() for c in metrics.precision_recall(arrays.pixels[key].sums)
        )
        out["precision_recall"] = {"threshold": EDGES[POINTS].tolist(), "precision": precision, "recall": recall}
    return out
