"""From images to a statement: sums that merge in any order, bootstrap intervals, paired differences, signs of maps.

Every number of a set is a function of sums over its images, and so is its bootstrap: a round draws n images with
replacement, that is, weighs each by how often it was drawn. The draws depend on n and the seed alone, so that two
columns measured on the same images see the same rounds and their difference is paired. Bring images in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..images import render

ROUNDS, LEVEL = 1000, 95.0  # of a bootstrap interval
ROOM = 1 << 22  # numbers in memory at once
GRAIN = 1 << 40  # values are added up in whole steps of 2^-40, which no order of adding changes
SAME = 1e-6  # differences of one image below this are ties
Statistic = Callable[[np.ndarray, int], np.ndarray]  # sums [rounds,...] over n images -> [rounds]


@dataclass(frozen=True)
class Total:
    """The sum of n numbers, exact to 2^-40 each: merging in any order gives the same to the bit."""

    n: int = 0
    steps: int = 0

    def add(self, value: float) -> Total:
        """With one number more. Raises ValueError for NaN or infinity."""
        if not np.isfinite(value):
            raise ValueError(f"Expected a finite number to average, got {value}.")
        return Total(self.n + 1, self.steps + round(value * GRAIN))

    @property
    def mean(self) -> float:
        """The mean. Raises ValueError of none."""
        if not self.n:
            raise ValueError("There is nothing to average: no image was measured.")
        return self.steps / GRAIN / self.n


@dataclass(frozen=True, eq=False)
class Rows:
    """The sum of n whole-numbered rows, of hits or of pixel counts."""

    n: int
    sums: np.ndarray

    def add(self, row: np.ndarray) -> Rows:
        """With one row more, of the same shape."""
        return Rows(self.n + 1, self.sums + row)

    @classmethod
    def empty(cls, *shape: int) -> Rows:
        """No rows yet, of a shape."""
        return cls(0, np.zeros(shape, dtype=np.int64))


def merge(a: Total | Rows, b: Total | Rows) -> Total | Rows:
    """Both together, whichever came first. Raises ValueError for two kinds."""
    if type(a) is not type(b):
        raise ValueError(f"Expected two of one kind to merge, got {type(a).__name__} and {type(b).__name__}.")
    if isinstance(a, Total):
        return Total(a.n + b.n, a.steps + b.steps)
    return Rows(a.n + b.n, a.sums + b.sums)


def mean(sums: np.ndarray, n: int) -> np.ndarray:
    """sums/n, the statistic of numbers that are averaged."""
    return sums / n


def _weights(n: int, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n images is drawn, some rounds at a time: int64 [r,n]."""
    rng, chunk = np.random.default_rng(seed), max(1, ROOM // n)
    for start in range(0, rounds, chunk):
        r = min(chunk, rounds - start)
        drawn = rng.integers(n, size=(r, n)) + n * np.arange(r)[:, None]
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n)


def bootstrap(rows: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """The statistic of `rounds` sets of n images drawn with replacement from these rows [n,...]: float64 [rounds].

    A number chosen on the set (the best threshold) is chosen anew in every round, which makes its rounds a little
    optimistic: the percentile interval may lie above the value (Efron and Tibshirani 1993). Memory is bounded whatever
    n. Raises ValueError of no rows.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise ValueError("A bootstrap needs at least one image, got none.")
    n, flat = len(rows), rows.reshape(len(rows), -1)
    kind = np.float32 if rows.dtype == bool and n < 1 << 24 else np.float64  # counts of hits are exact in both
    step, values = max(1, ROOM // flat.shape[1]), []
    for weights in _weights(n, rounds, seed):
        parts = (weights[:, i : i + step].astype(kind) @ flat[i : i + step].astype(kind) for i in range(0, n, step))
        sums = sum(part.astype(np.float64) for part in parts)
        values.append(statistic(sums.reshape(-1, *rows.shape[1:]), n))
    return np.concatenate(values)


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval: (100 - level)/2 % of the rounds lie below it, and as many above."""
    low, high = np.percentile(replicates, [(100 - level) / 2, (100 + level) / 2])
    return float(low), float(high)


def estimate(rows: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0) -> dict[str, float]:
    """`value` on the images as they are, `low` and `high` of its 95 % interval over images, and `n`."""
    rows = np.asarray(rows)
    low, high = interval(bootstrap(rows, statistic, rounds, seed))
    return {"value": _value(rows, statistic), "low": low, "high": high, "n": len(rows)}


def _value(rows: np.ndarray, statistic: Statistic) -> float:
    return float(statistic(rows.sum(0, dtype=np.float64)[None], len(rows))[0])


def difference(
    rows: np.ndarray, baseline: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, float]:
    """Statistic minus the baseline's on the same images, paired: `value`, `low`, `high` (95 %), `n`.

    Raises ValueError when they are not of as many images.
    """
    rows, baseline = np.asarray(rows), np.asarray(baseline)
    if len(rows) != len(baseline):
        raise ValueError(f"Expected two columns of the same images, got {len(rows)} and {len(baseline)}.")
    apart = bootstrap(rows, statistic, rounds, seed) - bootstrap(baseline, statistic, rounds, seed)
    low, high = interval(apart)
    value = _value(rows, statistic) - _value(baseline, statistic)
    return {"value": value, "low": low, "high": high, "n": len(rows)}


def shares(values: np.ndarray, baseline: np.ndarray, higher_is_better: bool) -> dict[str, float]:
    """Percent of images that got `better`, `worse`, or stayed `equal` (within SAME) against the baseline: [n], [n].

    Raises ValueError when they are not of as many images, or of none.
    """
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != baseline.shape or not len(values):
        raise ValueError(f"Expected two columns of the same images, got {values.shape} and {baseline.shape}.")
    gain = (values - baseline) * (1 if higher_is_better else -1)
    better, worse = float((gain > SAME).mean()), float((gain < -SAME).mean())
    return {"better": 100 * better, "worse": 100 * worse, "equal": 100 * float((abs(gain) <= SAME).mean())}


def sparsity(S: np.ndarray | Tensor) -> float:
    """(sqrt(n) - |M|_1/|M|_2)/(sqrt(n) - 1) of M = ReLU(S), n positions (Hoyer 2004): 0 spread evenly, 1 in one place.

    A blank map is spread evenly: 0.
    """
    M = torch.as_tensor(render.rectify(S)).cpu().double().flatten()
    norm, root = float(M.norm()), M.numel() ** 0.5
    return min(1.0, max(0.0, (root - float(M.sum()) / norm) / (root - 1))) if norm and root > 1 else 0.0


def map_numbers(S: np.ndarray | Tensor) -> dict[str, float]:
    """What a signed map [P,Q] is like: `sparsity`, percent of `negative` positions, and 100 where it is `blank`.

    Blank: nothing is above 0, the sign collapse of Sec. 3.2. Raises ValueError for NaN or infinity.
    """
    sparse = sparsity(S)  # refuses what is not finite
    negative = float((torch.as_tensor(S) < 0).float().mean())
    return {"sparsity": sparse, "negative": 100 * negative, "blank": 100.0 * render.is_blank(S)}
