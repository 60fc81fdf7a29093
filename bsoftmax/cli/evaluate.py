"""bsoftmax evaluate: fidelity and localisation of maps, measured; bsoftmax compare: two of its results."""

from __future__ import annotations

import argparse
import json
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation.column import CLAMPS
from ..evaluation.localization import PROTOCOLS
from ..evaluation.measure import GROUPS
from ..evaluation.plan import EvalRun
from ..evaluation.protocol import PRECISIONS
from ..evaluation.run import evaluate
from ..reports import lead, small_tables, verdicts, write
from ..reports.comparison import compare
from ..reports.tables import full_text
from ..reports.verdict import NOTHING, caution
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


def run(options: argparse.Namespace) -> None:
    """Measures fidelity and localisation of maps: every method x source x clamp, with intervals."""
    lower_priority(options.nice)
    evaluation, stop = _evaluation(options), stop_requested(options.stop_file)
    report = partial(write, full=options.full)
    if options.events:
        print_events(lambda emit: evaluate(evaluation, emit, stop, workers=options.workers, report=report))
        return
    with EvaluationPrinter() as printer:
        done = evaluate(evaluation, printer, stop, workers=options.workers, report=report)
    if not done:  # another rank than the first
        return
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    print(summary(found, options.full))
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


def summary(found: dict[str, Any], full: bool = False) -> str:
    """The verdict in words and a small table for each topic; `full`: every column and metric with its interval."""
    said = {verdict.topic: verdict for verdict in verdicts(found)}
    parts = ["", *wrapped(lead(found)), *wrapped(caution(found) if said else NOTHING)]
    for table in small_tables(found):
        parts += ["", f"{table.topic.title}: {table.topic.asks}"]
        if verdict := said.get(table.topic):
            parts += wrapped(verdict.setting)
            parts += [line for answer in (verdict.headline, *verdict.answers) for line in wrapped(f"- {answer}", "  ")]
            parts += wrapped(verdict.count)
        parts += ["", table.text()]
    return "\n".join([*parts, *(["", full_text(found)] if full else []), ""])


def wrapped(text: str, indent: str = "") -> list[str]:
    """A sentence in lines of 100 characters."""
    return textwrap.wrap(text, 100, subsequent_indent=indent)


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `evaluate`."""
    add = sub.add_argument
    number = partial(add_number, sub)
    add("data", help="a folder or .zip in any layout that train reads, with boxes.csv or masks/ for localisation")
    add_model(sub)
    add("--split", help="default: test, else val, else all there is")
    number("--share", 0.0, 1.0, default=EvalRun.share, help="of images for val, where the data names none (see train)")
    add("--methods", help=f"of {','.join(METHODS)}; default: the CAM methods that are quick")
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
    add("--full", action="store_true", help="also print, and write into results.md, every metric with its interval")
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
