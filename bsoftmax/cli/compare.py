"""bsoftmax compare: two results of `evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evaluation.comparison import compare


def run(options: argparse.Namespace) -> None:
    """Compares two results.json column by column; refuses other data unless --anyway."""
    print(compare(Path(options.first), Path(options.second), options.anyway))


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    sub.add_argument("first", metavar="A", help="results.json, or the folder it is in")
    sub.add_argument("second", metavar="B")
    sub.add_argument("--anyway", action="store_true", help="even of different images")
