"""Sums that do not depend on their order, bootstrap intervals, paired differences, and statistics of a map.

Every metric of a data set is a function of sums over its images, and so is its bootstrap: a round draws n images with
replacement, that is, weights each by how often it was drawn. The draws depend on n and the seed alone, so that columns
measured on the same images, in the same order, have the same rounds and their difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..images import render

ROUNDS, LEVEL = 1000, 95.0  # of a bootstrap interval
MAX_ELEMENTS = 1 << 22  # of an array, which bounds memory
STEPS_PER_UNIT = 1 << 40  # sums are in fixed point, multiples of 2^-40, so that the order of adding does not matter
TIE = 1e-6  # smaller differences of one image count as equal
Statistic = Callable[[np.ndarray, int], np.ndarray]  # sums [rounds,...] over n images -> [rounds]


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


def mean(sums: np.ndarray, n: int) -> np.ndarray:
    """sums/n."""
    return sums / n


def _weights(n: int, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n images is drawn in each of some rounds: int64 [r,n]."""
    rng, chunk = np.random.default_rng(seed), max(1, MAX_ELEMENTS // n)
    for start in range(0, rounds, chunk):
        r = min(chunk, rounds - start)
        drawn = rng.integers(n, size=(r, n)) + n * np.arange(r)[:, None]
        yield np.bincount(drawn.ravel(), minlength=r * n).reshape(r, n)


def bootstrap(rows: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """The statistic of `rounds` sets of n images drawn with replacement from these rows [n,...]: float64 [rounds].

    A maximum over thresholds is taken again in every round, which biases it upwards: the percentile interval may lie
    above the value (Efron and Tibshirani 1993). Memory does not grow with n. Raises ValueError for no rows.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise ValueError("A bootstrap needs at least one image, got none.")
    n, flat = len(rows), rows.reshape(len(rows), -1)
    dtype = np.float32 if rows.dtype == bool and n < 1 << 24 else np.float64  # counts of hits are exact in both
    step, values = max(1, MAX_ELEMENTS // flat.shape[1]), []
    for weights in _weights(n, rounds, seed):
        sums = np.zeros((len(weights), flat.shape[1]))
        for i in range(0, n, step):
            sums += weights[:, i : i + step].astype(dtype) @ flat[i : i + step].astype(dtype)
        values.append(statistic(sums.reshape(-1, *rows.shape[1:]), n))
    return np.concatenate(values)


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval: (100 - level)/2 % of the rounds lie below it, and as many above."""
    low, high = np.percentile(replicates, [(100 - level) / 2, (100 + level) / 2])
    return float(low), float(high)


def estimate(rows: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0) -> dict[str, float]:
    """`value`, the bounds `low` and `high` of its 95 % bootstrap interval over images, and `n`."""
    rows = np.asarray(rows)
    low, high = interval(bootstrap(rows, statistic, rounds, seed))
    return {"value": _value(rows, statistic), "low": low, "high": high, "n": len(rows)}


def _value(rows: np.ndarray, statistic: Statistic) -> float:
    return float(statistic(rows.sum(0, dtype=np.float64)[None], len(rows))[0])


def difference(
    rows: np.ndarray, baseline: np.ndarray, statistic: Statistic = mean, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, float]:
    """Statistic minus the baseline's on the same images, paired: `value`, `low`, `high` (95 %), `n`.

    Raises ValueError for different numbers of images.
    """
    rows, baseline = np.asarray(rows), np.asarray(baseline)
    if len(rows) != len(baseline):
        raise ValueError(f"Expected two columns of the same images, got {len(rows)} and {len(baseline)}.")
    low, high = interval(bootstrap(rows, statistic, rounds, seed) - bootstrap(baseline, statistic, rounds, seed))
    value = _value(rows, statistic) - _value(baseline, statistic)
    return {"value": value, "low": low, "high": high, "n": len(rows)}


def shares(values: np.ndarray, baseline: np.ndarray, higher_is_better: bool) -> dict[str, float]:
    """Percent of images that got `better`, `worse`, or stayed `equal` (within TIE) against the baseline: [n], [n].

    Raises ValueError for different numbers of images, or none.
    """
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != baseline.shape or not len(values):
        raise ValueError(f"Expected two columns of the same images, got {values.shape} and {baseline.shape}.")
    gain = (values - baseline) * (1 if higher_is_better else -1)
    better, worse = float((gain > TIE).mean()), float((gain < -TIE).mean())
    return {"better": 100 * better, "worse": 100 * worse, "equal": 100 * float((abs(gain) <= TIE).mean())}


def sparsity(S: np.ndarray | Tensor) -> float:
    """(sqrt(n) - |M|_1/|M|_2)/(sqrt(n) - 1) of M = ReLU(S), n positions (Hoyer 2004): 0 constant, 1 at one position.

    0 for a blank map.
    """
    M = torch.as_tensor(render.rectify(S)).cpu().double().flatten()
    norm, root = float(M.norm()), M.numel() ** 0.5
    return min(1.0, max(0.0, (root - float(M.sum()) / norm) / (root - 1))) if norm and root > 1 else 0.0


def negative(S: np.ndarray | Tensor) -> float:
    """Percent of positions of a signed map [P,Q] that are below 0."""
    return 100 * float((torch.as_tensor(S) < 0).float().mean())


def blank(S: np.ndarray | Tensor) -> float:
    """100 where nothing of a signed map [P,Q] is above 0, the sign collapse of Sec. 3.2; else 0."""
    return 100.0 * render.is_blank(S)
