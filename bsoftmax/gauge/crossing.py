"""Where along a shift one kind of map overtakes another, with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 95.0


@dataclass(frozen=True)
class Crossing:
    """The size of a shift at which a map that it moves falls behind one that it does not; infinite: at none measured.

    `certain`: the first size measured at which the paired interval of the difference leaves out 0; `never`: the share
    of bootstrap rounds without a crossing.
    """

    value: float
    low: float
    high: float
    certain: float
    never: float

    def json(self) -> dict[str, float | None]:
        """Its numbers; None for an infinite one."""
        found = {name: getattr(self, name) for name in ("value", "low", "high", "certain", "never")}
        return {name: float(x) if np.isfinite(x) else None for name, x in found.items()}


def first_below(sizes: Sequence[float], gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest size at which `gap` [T,...] is below 0, linear between sizes: [...], infinite where it never is."""
    out = np.full(gap.shape[1:], np.inf)
    for n in reversed(range(len(sizes))):
        if n == 0:
            at = np.zeros(out.shape)
        else:
            a, b = gap[n - 1], gap[n]
            share = np.where(a > b, np.clip(a, 0, None) / np.where(a > b, a - b, 1), 1.0)
            at = sizes[n - 1] + np.clip(share, 0, 1) * (sizes[n] - sizes[n - 1])
        out = np.where(gap[n] < 0, at, out)
    return out


def crossing(
    sizes: Sequence[float], values: NDArray[np.float64], ends: NDArray[np.float64], replicates: NDArray[np.float64],
    higher_is_better: bool,
) -> Crossing:  # fmt: skip
    """Where the moved map falls behind: `values` [T] and `replicates` [T,rounds] are moved minus fixed, paired.

    Bounds are order statistics of the rounds, which may be infinite. `ends` [T,2]: the interval of each value.
    """
    sign = 1.0 if higher_is_better else -1.0
    rounds = np.sort(first_below(sizes, sign * replicates))
    tail = (100 - LEVEL) / 200
    low, high = (rounds[min(len(rounds) - 1, int(share * len(rounds)))] for share in (tail, 1 - tail))
    certain = next((size for size, top in zip(sizes, (sign * ends).max(1)) if top < 0), np.inf)
    value = float(first_below(sizes, sign * values[:, None])[0])
    return Crossing(value, float(low), float(high), float(certain), float(np.isinf(rounds).mean()))
