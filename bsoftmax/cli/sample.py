"""bsoftmax sample: a small drawn data set to try everything on."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.sample import write_sample
from .arguments import add_number, add_seed


def run(options: argparse.Namespace) -> None:
    """Draws a small set of pictures with exact boxes and masks, to train and to measure on without any data."""
    print(f"wrote {write_sample(Path(options.out), options.per_class, seed=options.seed)}")


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `sample`."""
    sub.add_argument("out", help="the folder to write")
    add_number(sub, "--per-class", 1, 1_000_000, default=30, help="pictures of each class; default %(default)s")
    add_seed(sub)
