"""Interleaved timing (A B A B ...), so that other load on the machine slows all cases alike.

A ratio is the median of the ratios within each round, which a burst of load changes in one round only. On a very busy
machine use `clock=time.process_time` with one thread: threads that wait for each other count as computing.
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
    """Seconds of every case in every round, after `warm` rounds that are discarded."""
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
    """The time of a case divided by that of `to`, median over rounds."""
    return median(a / b for a, b in zip(times[name], times[to]))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, the first column left-aligned, the others right-aligned."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def verdict(value: float, target: float, least: bool = False) -> str:
    """The target, an upper bound or with `least` a lower one, and whether `value` meets it."""
    met = value >= target if least else value <= target
    return f"{'≥' if least else '≤'} {target:g}: {'met' if met else 'MISSED'}"


def machine(threads: int) -> str:
    """One line on the machine and its load."""
    import torch

    with open("/proc/loadavg") as file:
        load = file.read().split()[0]
    return f"{platform.processor() or platform.machine()}, {threads} threads, load {load}, torch {torch.__version__}"
