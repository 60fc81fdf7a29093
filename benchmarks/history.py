"""Ratios of earlier runs, one line each in benchmarks/history.jsonl, and what has become slower.

    python benchmarks/history.py --check

A benchmark calls `record(protocol, {name: ratio})` at its end. Only ratios within one run are kept, more being slower:
they hardly depend on the machine's load, and are compared with those of the same machine and protocol alone. The check
compares the last run of each with the median of the earlier ones, and fails where a ratio has grown by LIMIT.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

FILE = Path(__file__).resolve().parent / "history.jsonl"
LIMIT = 1.5
Line = dict[str, Any]


def machine_name() -> str:
    """What tells machines apart: processor, number of cores."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        pass
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit that was measured; + where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=FILE.parent, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


def record(protocol: str, ratios: Mapping[str, float], file: Path = FILE) -> None:
    """Appends a line for each ratio. Raises ValueError for one that is no positive number."""
    if odd := [name for name, value in ratios.items() if not (math.isfinite(value) and value > 0)]:
        raise ValueError(f"Expected positive ratios, got {ratios[odd[0]]} for {odd[0]!r}.")
    run = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "commit": commit()}
    run |= {"machine": machine_name(), "protocol": protocol}
    with open(file, "a", encoding="utf-8") as out:
        out.writelines(json.dumps({**run, "name": n, "ratio": round(v, 4)}) + "\n" for n, v in ratios.items())


def read(file: Path = FILE) -> list[Line]:
    """The lines of a history, the oldest first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def compared(lines: Iterable[Line]) -> list[tuple[Line, float]]:
    """(last run, median of the earlier ones) of each ratio on each machine under each protocol that has both."""
    runs: dict[tuple[str, str, str], list[Line]] = {}
    for line in sorted(lines, key=lambda one: one["date"]):
        runs.setdefault((line["machine"], line["protocol"], line["name"]), []).append(line)
    return [(last, median(one["ratio"] for one in earlier)) for *earlier, last in runs.values() if earlier]


def check(lines: Iterable[Line], limit: float = LIMIT) -> list[str]:
    """A sentence for each ratio that has grown by `limit` or more."""
    return [
        f"{last['name']} ({last['protocol']}) is {last['ratio'] / before:.2f} times the median of earlier runs on "
        f"{last['machine']}: {last['ratio']:g} at {last['commit']}, {before:g} before."
        for last, before in compared(lines)
        if last["ratio"] >= limit * before
    ]


def main() -> None:
    """Prints what has become slower; the exit code is 1 where something has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", required=True, help="compare the last run with earlier ones")
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args()
    lines = read(options.file) if options.file.is_file() else []
    slower = check(lines)
    print("\n".join(slower) or f"{len(compared(lines))} ratios compared, none has grown by {LIMIT}.")
    raise SystemExit(bool(slower))


if __name__ == "__main__":
    main()
