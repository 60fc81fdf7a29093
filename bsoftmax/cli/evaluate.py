"""bsoftmax evaluate: fidelity and localisation of maps, measured; bsoftmax compare: two of its results."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation.column import CLAMPS
from ..evaluation.comparison import compare
from ..evaluation.localization import PROTOCOLS
from ..evaluation.measure import GROUPS
from ..evaluation.plan import EvalRun
from ..evaluation.protocol import PRECISIONS
from ..evaluation.run import evaluate
from ..evaluation.tables import interval_of, title
from ..utils.events import Event
from .arguments import MANY, add_long_running, add_model, add_number, add_seed
from .console import (
    EventPrinter,
    cache_folder,
    listed,
    lower_priority,
    print_events,
    repeatable,
    stop_requested,
)

METRICS_SHOWN = (
    "average_drop", "increase", "average_gain", "adcc", "deletion", "insertion", "top1_loc", "gt_loc", "max_box_acc_v2",
    "px_ap", "pointing",
)  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Measures fidelity and localisation of maps: every method x source x clamp, with intervals."""
    lower_priority(options.nice)
    evaluation, stop = _evaluation(options), stop_requested(options.stop_file)
    if options.events:
        print_events(lambda emit: evaluate(evaluation, emit, stop, workers=options.workers))
        return
    with EvaluationPrinter() as printer:
        done = evaluate(evaluation, printer, stop, workers=options.workers)
    if not done:  # another rank than the first
        return
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    print(text_table(found))
    for name, reason in found["unreadable"]:
        print(f"counted out: {name} ({reason})")
    if not found["complete"]:
        print(f"stopped: {found['n']} of {found['asked']} images; the same command goes on")
    print(f"wrote {', '.join(done['files'])}")


def _evaluation(options: argparse.Namespace) -> EvalRun:
    clamps = ("off", "on") if options.clamps == "both" else (options.clamps,)
    return EvalRun(
        options.data, Path(options.out), options.model, options.weights, options.split, listed(options.methods),
        listed(options.sources), clamps, options.protocol, options.explain, listed(options.metrics) or (),
        options.limit, options.seed, options.batch, options.images and Path(options.images),
        options.boxes and Path(options.boxes), cache_folder(options.cache), options.precision, options.device,
        called=options.called, command=repeatable(options), share=options.share,
    )  # fmt: skip


class EvaluationPrinter(EventPrinter):
    """Prints the events of an evaluation."""

    def on_data(self, event: Event) -> None:
        """Prints the images, columns and notes."""
        print(f"{event['n']} images of {event['split']} ({event['layout']}), {len(event['columns'])} columns")
        for note in event["notes"]:
            print(f"note: {note}")

    def on_size(self, event: Event) -> None:
        """Prints the number of trunk passes."""
        print(f"at most {event['passes']:,} passes through the trunk for {event['maps']} distinct maps an image")


def text_table(found: dict[str, Any]) -> str:
    """The results as text: one line a column; a star where the paired interval of the difference excludes 0."""
    names = [name for name in METRICS_SHOWN if any(name in c["metrics"] for c in found["columns"])]
    rows = [["", *(title(name) for name in names)]]
    for c in found["columns"]:
        rows.append([c["key"], *(_cell(c, name) for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*text, f"n = {found['n']}; [95 % interval]; * differs from the method's softmax, unclamped"])


def _cell(column: dict[str, Any], name: str) -> str:
    if name not in column["metrics"]:
        return ""
    difference = column["difference"].get(name)
    return interval_of(column["metrics"][name]) + (
        "*" if difference and (difference["low"] > 0 or difference["high"] < 0) else ""
    )


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `evaluate`."""
    add = sub.add_argument
    number = partial(add_number, sub)
    add("data", help="a folder or .zip in any layout that train reads, with boxes.csv or masks/ for localisation")
    add_model(sub)
    add("--split", help="default: test, else val, else all there is")
    number("--share", 0.0, 1.0, default=EvalRun.share, help="of images for val, where the data names none (see train)")
    add("--methods", help=f"of {','.join(METHODS)}; default: all that are quick")
    add("--sources", help=f"of {','.join(SOURCES)}; default: all the model has")
    add("--clamp", dest="clamps", choices=("both", *CLAMPS), default="both", help="keep positive weights only")
    add("--protocol", choices=PROTOCOLS, default="standard", help="the WSOL benchmark's, or the paper's code")
    add("--explain", choices=("true", "predicted"), help="default: true for localisation, predicted for fidelity")
    add("--metrics", default="localization,fidelity", help=f"of {','.join(GROUPS)}; default %(default)s")
    number("--limit", 1, MANY, help="at most so many images, every class in proportion")
    add_seed(sub, help="of the limit's choice and of the intervals")
    number("--batch", 1, MANY, default=EvalRun.batch, help="images in the trunk at once; default %(default)s")
    add_number(
        sub,
        "--workers",
        1,
        1024,
        help="processes on this machine; default: as many as are worth it; torchrun works too",
    )
    add("--device", help="default: a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="float32", help="of the trunk")
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--boxes", help="a CSV (path,x0,y0,x1,y1) or COCO file")
    add("--out", default="evaluation", help="folder for results and records; default %(default)s")
    add("--cache", help="folder for unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    add_long_running(sub, "measured", "the results call")


def run_comparison(options: argparse.Namespace) -> None:
    """Compares two results.json column by column; refuses other data unless --anyway."""
    print(compare(Path(options.first), Path(options.second), options.anyway))


def add_comparison_options(sub: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    sub.add_argument("first", metavar="A", help="results.json, or the folder it is in")
    sub.add_argument("second", metavar="B")
    sub.add_argument("--anyway", action="store_true", help="even of different images")
