"""Times of several things under one load: they take turns (A B A B ...), so that whatever else runs slows all alike.

A ratio is the median of the ratios within each round, not the ratio of two medians: a burst of load spoils one round.
On a machine too busy even for that, `clock=time.process_time` counts what was computed and not what was waited for; it
says something about one thread only, because threads that wait for each other count as computing.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the scripts also run where bsoftmax is not installed

Times = dict[str, list[float]]


def interleaved(
    cases: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter, warm: int = 1
) -> Times:
    """Seconds of every case in every round, after `warm` rounds that are thrown away."""
    times: Times = {name: [] for name in cases}
    for turn in range(warm + rounds):
        for name, case in cases.items():
            start = clock()
            case()
            if turn >= warm:
                times[name].append(clock() - start)
    return times


def ms(times: Times, name: str) -> float:
    """Median milliseconds of a case."""
    return 1000 * median(times[name])


def ratio(times: Times, name: str, to: str) -> float:
    """How many times as long as `to` a case takes."""
    return median(a / b for a, b in zip(times[name], times[to]))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table: first column left, the others right."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def verdict(value: float, bar: float, least: bool = False) -> str:
    """`value` beside its bar, and whether it is met."""
    met = value >= bar if least else value <= bar
    return f"{'≥' if least else '≤'} {bar:g}: {'met' if met else 'MISSED'}"


def machine(threads: int) -> str:
    """One line on what the numbers were taken on."""
    import torch

    with open("/proc/loadavg") as file:
        load = file.read().split()[0]
    return f"{platform.processor() or platform.machine()}, {threads} threads, load {load}, torch {torch.__version__}"
