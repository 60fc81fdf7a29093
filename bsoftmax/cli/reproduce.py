"""bsoftmax reproduce: the experiments of the paper's tables."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation.localization import PROTOCOLS
from ..evaluation.protocol import PRECISIONS
from ..paper import published
from ..paper.presets import Reproduction
from ..paper.reproduction import reproduce
from ..paper.side_by_side import row_labels, row_numbers
from ..utils.events import Event
from .arguments import MANY, add_number, add_seed
from .console import EventPrinter, cache_folder, listed, repeatable, stop_requested

HEADS = ("backbone", "method", "metric", "protocol", "paper", "+ Ours", "Δ", "here", "+ Ours", "Δ", "n")


def run(options: argparse.Namespace) -> None:
    """Trains and measures what the paper's Table 1 or 2 has, and puts its numbers beside those found."""
    with ReproductionPrinter() as printer:
        done = reproduce(_reproduction(options), printer, stop_requested(None))
    if not done["files"]:  # another rank than the first
        return
    for corpus in dict.fromkeys(row["dataset"] for row in done["rows"]):
        print(published.CORPORA[corpus].title)
        print(_text([row for row in done["rows"] if row["dataset"] == corpus]))
    for message in dict.fromkeys(done["problems"].values()):
        print(f"{', '.join(cell for cell, problem in done['problems'].items() if problem == message)}: {message}")
    if done["stopped"]:
        print("stopped; the same command goes on")
    print(f"wrote {', '.join(done['files'])}")
    if not done["stopped"] and all(row["n"] is None for row in done["rows"]):
        raise ValueError(f"Nothing could be measured: {done['files'][0]} says what to bring.")


def _reproduction(options: argparse.Namespace) -> Reproduction:
    return Reproduction(
        options.table, Path(options.data), Path(options.out), cache_folder(options.cache), listed(options.backbones),
        listed(options.datasets), None if options.protocol == "both" else (options.protocol,), options.limit,
        options.epochs, options.stage1_epochs, options.views, options.workers, options.seed, options.device,
        options.precision, command=repeatable(options),
    )  # fmt: skip


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned text."""
    lines = [HEADS, *([*row_labels(row), *row_numbers(row), str(row["n"] or "–")] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


class ReproductionPrinter(EventPrinter):
    """Prints the events of a reproduction."""

    def __call__(self, event: Event) -> None:
        if event["event"] != "progress":
            self.close()
        super().__call__(event)

    def on_cell(self, event: Event) -> None:
        """Prints the cell that begins."""
        print(f"{event['n']}/{event['of']} {event['cell']}")

    def on_stage(self, event: Event) -> None:
        """Prints the stage that begins."""
        print(f"  {event['title']}")

    def on_problem(self, event: Event) -> None:
        """Prints why the cell cannot be run."""
        print(f"  {event['message']}")

    def on_size(self, event: Event) -> None:
        """Prints the size of the features."""
        if "bytes" in event:
            print(f"  the features take {event['bytes'] / 1e6:.1f} MB on the disk")

    def on_epoch(self, event: Event) -> None:
        """Prints the epoch that ended."""
        print(f"  epoch {event['epoch']}/{event['epochs']}: loss {event['loss']:.4f}")

    def on_progress(self, event: Event) -> None:
        """Moves the bar."""
        self.move(event["done"], event["total"], event["step"])


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `reproduce`."""
    add = sub.add_argument
    number = partial(add_number, sub)
    add("table", choices=published.TABLES, help="the paper's Table 1 (fidelity) or 2 (localisation)")
    add("--data", required=True, metavar="ROOT", help="the folder in which the data sets lie, as their archives unpack")
    add("--out", default="reproduction", help="folder for models, records and tables; default %(default)s")
    add("--backbones", help=f"of {','.join(published.BACKBONES)}; default: the table's")
    add("--datasets", help=f"of {','.join(published.CORPORA)}; default: the table's")
    add("--protocol", choices=("both", *PROTOCOLS), default="both", help="of localisation; default %(default)s")
    number("--limit", 1, MANY, help="measure at most so many images of each data set, every class in proportion")
    number("--epochs", 1, MANY, help=f"of the branch; default {published.RECIPE.epochs}")
    number(
        "--stage1-epochs", 1, MANY,
        help=f"of the softmax head, where one is trained; default {published.STAGE1.epochs}",
    )  # fmt: skip
    number("--views", 1, MANY, help=f"trunk passes an image to train on; default {published.RECIPE.views}")
    add_seed(sub)
    number("--workers", 1, 1024, default=1, help="processes that measure on this machine; torchrun works too")
    add("--device", help="where to measure; default: a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="float32", help="of the trunk while measuring")
    add("--cache", help="folder for features and unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    sub.set_defaults(called=None)
