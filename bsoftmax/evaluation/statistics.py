"""95 % intervals, paired differences and Holm's correction.

Which interval a metric has follows from its images' numbers (docs/intervals.md has the coverage of each):

- a share of images (every number at an end of the scale): Agresti and Coull 1998; a paired difference of two shares:
  Bonett and Price 2012;
- a mean: Student's t, widened on the side of a long tail by Hall's correction for skewness (1992); a paired difference
  is the mean of the images' differences; a smooth function of sums (PxAP) that of its jackknife pseudo-values;
- a maximum over thresholds (MaxBoxAcc, V2): bootstrap bias and variance in the formulas for shares.

The bootstrap draws n images with replacement; its draws depend on n and the seed alone, so that columns of the same
images, in the same order, have the same rounds and their difference is paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

ROUNDS, LEVEL = 1000, 95.0  # bootstrap rounds; percent of the samples in which an interval holds the true value
ALPHA = 1 - LEVEL / 100
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
RULE = (
    f"{LEVEL:g} %; shares of images: Agresti-Coull, their paired differences Bonett-Price; means and their paired "
    "differences: Student's t, widened by Hall's correction for skewness, PxAP by jackknife pseudo-values; MaxBoxAcc "
    "and V2: bootstrap bias and variance; better or worse: Holm over the methods and metrics of a question"
)
MAX_ELEMENTS = 1 << 22  # of an array, which bounds memory
TIE = 1e-6  # smaller differences of one image count as equal
Statistic = Callable[[np.ndarray, int], np.ndarray]  # sums [rounds,...] over n images -> [rounds]


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

    A maximum over thresholds is taken again in every round, which biases it upwards, about as much as the value itself
    (Efron and Tibshirani 1993, ch. 10). Memory does not grow with n. Raises ValueError for no rows.
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


def pseudo_values(rows: np.ndarray, statistic: Statistic) -> np.ndarray:
    """n theta - (n-1) theta_(-i), theta_(-i) without image i (Tukey 1958): rows [n,...] -> float64 [n].

    They stand for the numbers of single images where theta is a smooth function of sums. Memory does not grow with n.
    """
    n, sums, out = len(rows), rows.sum(0, dtype=np.float64), []
    if n == 1:
        return np.array([_value(rows, statistic)])
    step = max(1, MAX_ELEMENTS // sums.size)
    for i in range(0, n, step):
        out.append(statistic(sums - rows[i : i + step], n - 1))
    pseudo: np.ndarray = n * _value(rows, statistic) - (n - 1) * np.concatenate(out)
    return pseudo


def _value(rows: np.ndarray, statistic: Statistic) -> float:
    return float(statistic(rows.sum(0, dtype=np.float64)[None], len(rows))[0])


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number over n images, with what its interval is made of.

    `values` [n]: one number an image, of a mean; or `rounds`: one a bootstrap round, of a maximum over thresholds; or
    neither: equal by construction. `limits` are the ends of the metric's scale, for a difference minus and plus their
    distance.
    """

    value: float
    n: int
    limits: tuple[float, float]
    values: np.ndarray | None = None
    rounds: np.ndarray | None = None
    paired: bool = False

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference from another of the same images. Raises ValueError for another number of images."""
        if self.n != other.n:
            raise ValueError(f"Expected two columns of the same images, got {self.n} and {other.n}.")
        span, value = self.limits[1] - self.limits[0], self.value - other.value
        values = rounds = None
        if self.values is not None and other.values is not None and self.values is not other.values:
            values = self.values - other.values
            values[abs(values) <= TIE] = 0
        if self.rounds is not None and other.rounds is not None and self.rounds is not other.rounds:
            rounds = self.rounds - other.rounds
        return Estimate(value, self.n, (-span, span), values, rounds, True)

    @property
    def certain(self) -> bool:
        """Whether it is a difference of the same numbers, which needs no interval."""
        return self.values is None and self.rounds is None

    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % interval, which holds the value and stays on the scale."""
        if self.certain:
            return self.value, self.value
        if self._is_share():
            first, last, error = self._share()
            low, high = first - Z * error, last + Z * error
        else:
            low, high = _mean_interval(self._numbers())
        low, high = min(low, self.value), max(high, self.value)
        return max(low, self.limits[0]), min(high, self.limits[1])

    def p_value(self) -> float:
        """The two-sided p of a true value of 0, for a difference: below 5 % where the interval leaves out 0."""
        if self.certain:
            return 1.0
        if not self._is_share():
            return _mean_p_value(self._numbers())
        first, last, error = self._share()
        z = min(abs(first), abs(last)) / error if first * last > 0 else 0.0
        return math.erfc(z / math.sqrt(2))

    def drawn(self, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
        """The value in each bootstrap round, for functions of several estimates of the same images: [rounds]."""
        if self.rounds is not None:
            return self.rounds
        return np.full(rounds, self.value) if self.values is None else bootstrap(self.values, mean, rounds, seed)

    def _numbers(self) -> np.ndarray:
        return np.empty(0) if self.values is None else self.values

    def _is_share(self) -> bool:
        """Whether the formula for shares applies: every number at an end of the scale or, of a difference, 0.

        So it does where all numbers are equal, whose standard error would be 0.
        """
        if self.rounds is not None:
            return True
        values, ends = self._numbers(), [*self.limits, *([0.0] if self.paired else [])]
        apart: np.ndarray = np.abs(values[:, None] - np.array(ends)).min(1)
        return bool((apart <= TIE).all() or np.ptp(values) <= TIE)

    def _share(self) -> tuple[float, float, float]:
        """The lowest and the highest centre, and the standard error, with pseudo-images at both ends of the scale.

        Z^2 of them make the Agresti-Coull interval of a share, two the Bonett-Price interval of a paired difference. A
        maximum over thresholds has two centres: the value, and the value less its bias, the mean of the bootstrap
        rounds minus the value, which the bootstrap knows only roughly.
        """
        if self.rounds is not None:
            centres, variance = [self.value, 2 * self.value - float(self.rounds.mean())], float(self.rounds.var())
        else:
            centres, variance = [float(self._numbers().mean())], float(self._numbers().var()) / self.n
        (low, high), extra = self.limits, 2 if self.paired else Z**2
        middle, spread, w = (low + high) / 2, (high - low) / 2, self.n / (self.n + extra)
        added = (1 - w) * spread**2 + w * (1 - w) * (centres[0] - middle) ** 2
        centres = [w * centre + (1 - w) * middle for centre in centres]
        return min(centres), max(centres), math.sqrt(w**2 * variance + added / (self.n + extra))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several estimates of one metric over the same images."""
    first, values = estimates[0], [e.values for e in estimates if e.values is not None]
    rounds, value = [e.rounds for e in estimates if e.rounds is not None], float(np.mean([e.value for e in estimates]))
    return replace(
        first,
        value=value,
        values=np.mean(values, axis=0) if len(values) == len(estimates) else None,
        rounds=np.mean(rounds, axis=0) if len(rounds) == len(estimates) else None,
    )


def _mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's t interval of a mean, each end moved outwards to Hall's where that is further: [n], n > 1.

    Hall (1992): T + g T^2/3 + g^2 T^3/27 + g/6 of the studentized mean T is nearly t distributed, g the numbers'
    skewness over sqrt(n); the ends are its inverse at +-t.
    """
    mean, error, g = _studentized(values)
    t = _student(Z, len(values) - 1)
    upper, lower = (3 * (np.cbrt(1 + g * (y - g / 6)) - 1) / g if g else y for y in (t, -t))
    return mean - error * max(t, float(upper)), mean - error * min(-t, float(lower))


def _mean_p_value(values: np.ndarray) -> float:
    """The p at which the interval of `_mean_interval` would end at 0."""
    mean, error, g = _studentized(values)
    T = mean / error
    hall = T + g * T**2 / 3 + g**2 * T**3 / 27 + g / 6
    t = min(abs(T), abs(hall)) if T * hall > 0 else 0.0
    return math.erfc(_normal(t, len(values) - 1) / math.sqrt(2))


def _studentized(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, its standard error, and skewness over sqrt(n)."""
    n, mean = len(values), float(values.mean())
    apart = values - mean
    second, third = float((apart**2).mean()), float((apart**3).mean())
    return mean, math.sqrt(second / (n - 1)), third / second**1.5 / math.sqrt(n)


def _student(z: float, degrees: int) -> float:
    """Student's t of the same tail as a standard normal z (Wallace 1959): 0.4 % too far at 5 degrees of freedom."""
    return math.sqrt(degrees * math.expm1((z * (8 * degrees + 3) / (8 * degrees + 1)) ** 2 / degrees))


def _normal(t: float, degrees: int) -> float:
    """The inverse of `_student`, for t >= 0."""
    return (8 * degrees + 1) / (8 * degrees + 3) * math.sqrt(degrees * math.log1p(t**2 / degrees))


def holm(p: Sequence[float]) -> list[float]:
    """max over j <= i of min(1, (m-j+1) p_(j)), p_(1) <= ... <= p_(m), in the order given (Holm 1979).

    Calling every comparison below 5 % a difference has a chance of at most 5 % to call any wrongly, however the
    comparisons depend on each other.
    """
    out, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        out[i] = highest
    return out


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
