"""The command that runs the paper's tables again: reproduce."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import paper
from .commands import bar_of
from .commands_evaluate import _listed
from .commands_train import asked_to_stop, cache_folder, repeatable
from .localization import PROTOCOLS
from .paper_tables import labels_of, numbers_of
from .presets import Reproduction
from .reproduce import reproduce
from .stamps import PRECISIONS

HEADS = ("backbone", "method", "metric", "protocol", "paper", "+ Ours", "Δ", "here", "+ Ours", "Δ", "n")


def run_reproduce(options: argparse.Namespace) -> None:
    """Trains and measures what the paper's Table 1 or 2 has, and puts its numbers beside those found."""
    with Lines() as lines:
        done = reproduce(_run_of(options), lines, asked_to_stop(None))
    if not done["files"]:  # another rank than the first
        return
    for corpus in dict.fromkeys(row["dataset"] for row in done["rows"]):
        print(paper.CORPORA[corpus].title)
        print(_text([row for row in done["rows"] if row["dataset"] == corpus]))
    for message in dict.fromkeys(done["problems"].values()):
        print(f"{', '.join(cell for cell, said in done['problems'].items() if said == message)}: {message}")
    if done["stopped"]:
        print("stopped; the same command goes on")
    print(f"wrote {', '.join(done['files'])}")
    if not done["stopped"] and all(row["n"] is None for row in done["rows"]):
        raise ValueError(f"Nothing could be measured: {done['files'][0]} says what to bring.")


def _run_of(options: argparse.Namespace) -> Reproduction:
    return Reproduction(
        options.table, Path(options.data), Path(options.out), cache_folder(options.cache), _listed(options.backbones),
        _listed(options.datasets), None if options.protocol == "both" else (options.protocol,), options.limit,
        options.epochs, options.stage1_epochs, options.views, options.workers, options.seed, options.device,
        options.precision, command=repeatable(options),
    )  # fmt: skip


def _text(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned text."""
    lines = [HEADS, *([*labels_of(row), *numbers_of(row), str(row["n"] or "–")] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


class Lines:
    """Events as lines and one progress bar, for people."""

    def __enter__(self) -> Lines:
        self.bar: Any = None
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind != "progress":
            self._close()
        if kind == "cell":
            print(f"{event['n']}/{event['of']} {event['cell']}")
        elif kind == "stage":
            print(f"  {event['title']}")
        elif kind == "problem":
            print(f"  {event['message']}")
        elif kind == "size" and "bytes" in event:
            print(f"  the features take {event['bytes'] / 1e6:.1f} MB on the disk")
        elif kind == "epoch":
            print(f"  epoch {event['epoch']}/{event['epochs']}: loss {event['loss']:.4f}")
        elif kind == "progress":
            if self.bar is None:
                self.bar = bar_of(event["total"], event["step"])
            self.bar.update(event["done"] - self.bar.n)


def reproduce_options(sub: argparse.ArgumentParser) -> None:
    """What `reproduce` takes."""
    add = sub.add_argument
    add("table", choices=paper.TABLES, help="the paper's Table 1 (fidelity) or 2 (localisation)")
    add("--data", required=True, metavar="ROOT", help="the folder in which the data sets lie, as their archives unpack")
    add("--out", default="reproduction", help="folder for models, records and tables; default %(default)s")
    add("--backbones", help=f"of {','.join(paper.BACKBONES)}; default: the table's")
    add("--datasets", help=f"of {','.join(paper.CORPORA)}; default: the table's")
    add("--protocol", choices=("both", *PROTOCOLS), default="both", help="of places; default %(default)s")
    add("--limit", type=int, help="measure at most so many images of each data set, every class in proportion")
    add("--epochs", type=int, help=f"of the branch; default {paper.RECIPE.epochs}")
    add("--stage1-epochs", type=int, help=f"of the softmax head, where one is trained; default {paper.STAGE1.epochs}")
    add("--views", type=int, help=f"trunk passes an image to train on; default {paper.RECIPE.views}")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes that measure on this machine; torchrun works too")
    add("--device", help="where to measure; default: a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="float32", help="of the trunk while measuring")
    add("--cache", help="folder for features and unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    sub.set_defaults(called=None)
