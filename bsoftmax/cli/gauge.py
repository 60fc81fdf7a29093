"""bsoftmax gauge: how far off centre a head must be before its maps break, and which heads are."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..evaluation.localization import PROTOCOLS
from ..gauge import report
from ..gauge.directions import DEFAULT, DIRECTIONS, parse_sizes
from ..gauge.sweep import GaugeRun, sweep
from ..models import zoo
from ..utils.events import Emit
from .arguments import MANY, MODEL_HELP, add_long_running, add_number, add_seed, add_weights
from .console import EventPrinter, cache_folder, listed, lower_priority, print_events, repeatable, stop_requested


def run(options: argparse.Namespace) -> None:
    """Moves a softmax head along directions that its probabilities cannot see, and measures every map."""
    lower_priority(options.nice)
    made, stop = _gauge_run(options), stop_requested(options.stop_file)
    if options.events:
        print_events(lambda emit: _told(made, sweep(made, emit, stop, workers=options.workers), emit))
        return
    with EventPrinter() as printer:
        found = sweep(made, printer, stop, workers=options.workers)
    if not found:  # another rank than the first
        return
    files = report.write(found, made.out)
    print("\n".join(report.verdict(found)))
    if not found["complete"]:
        print(f"stopped: {found['n']} of {found['asked']} images; the same command goes on")
    print(f"wrote {', '.join(map(str, [made.out / 'gauge.json', *files]))}")


def _told(made: GaugeRun, found: dict[str, Any], emit: Emit) -> None:
    """The last event, once the files are written; nothing on another rank than the first."""
    if found:
        path = made.out / "gauge.json"
        files = [str(path), *map(str, report.write(found, made.out))]
        said = {key: found[key] for key in ("n", "complete", "stopped", "seconds", "unreadable", "notes")}
        emit({"event": "done", "results": str(path), "files": files, **said})


def _gauge_run(options: argparse.Namespace) -> GaugeRun:
    return GaugeRun(
        options.data, Path(options.out), options.model, options.weights, options.split, options.method,
        listed(options.directions) or DEFAULT, parse_sizes(options.sizes), listed(options.metrics) or (),
        options.protocol, options.limit, options.seed, options.batch, options.images and Path(options.images),
        options.boxes and Path(options.boxes), cache_folder(options.cache), options.device,
        called=options.called, command=repeatable(options), share=options.share,
    )  # fmt: skip


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `gauge`."""
    add, number = sub.add_argument, partial(add_number, sub)
    add("model", nargs="?", default=zoo.DEFAULT, help=MODEL_HELP)
    add_weights(sub)
    add(
        "--data", required=True, help="a folder or .zip in any layout that train reads, with boxes.csv for localisation"
    )
    add("--directions", default=",".join(DEFAULT), help=f"of {','.join(DIRECTIONS)}; default %(default)s")
    add("--sizes", default="0..4", help="in row norms: 0,0.5,2 or a range of the default ones; default %(default)s")
    add("--method", choices=METHODS, help="default: CAM where the head allows it, else Grad-CAM")
    add("--metrics", default="localization,fidelity", help="fidelity takes a trunk pass a mask; default %(default)s")
    add("--protocol", choices=PROTOCOLS, default="standard", help="the WSOL benchmark's, or the paper's code")
    add("--split", help="default: test, else val, else all there is")
    number("--share", 0.0, 1.0, default=GaugeRun.share, help="of images for val, where the data names none (see train)")
    number("--limit", 1, MANY, help="at most so many images, every class in proportion")
    add_seed(sub, help="of the random directions, the limit's choice and the intervals")
    number("--batch", 1, MANY, default=GaugeRun.batch, help="images in the trunk at once; default %(default)s")
    number("--workers", 1, 1024, help="processes on this machine; default: as many as are worth it")
    add("--device", help="default: a GPU where there is one")
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--boxes", help="a CSV (path,x0,y0,x1,y1) or COCO file")
    add("--out", default="gauge", help="folder for results and records; default %(default)s")
    add("--cache", help="folder for unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    add_long_running(sub, "measured", "the results call")
