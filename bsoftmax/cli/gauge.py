"""bsoftmax gauge: how far off centre a head must be before its maps break, and which heads are."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..data.layouts import read_data
from ..evaluation.localization import PROTOCOLS
from ..evaluation.plan import subsample
from ..gauge import report
from ..gauge.directions import DEFAULT, DIRECTIONS, parse_sizes
from ..gauge.survey import POPULAR, survey, write
from ..gauge.sweep import GaugeRun, sweep
from ..models import zoo
from ..utils.events import Emit
from ..utils.text import quoted
from .arguments import MANY, add_long_running, add_number, add_seed, add_weights, following
from .console import EventPrinter, cache_folder, listed, lower_priority, print_events, repeatable, stop_requested

SURVEYED = 20  # photographs of a survey


def run(options: argparse.Namespace) -> None:
    """Moves a softmax head along directions that its probabilities cannot see, and measures every map."""
    lower_priority(options.nice)
    if options.survey:
        _survey(options)
        return
    if options.data is None:
        raise ValueError("Expected images to measure: name them with --data, or ask for --survey.")
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


def _survey(options: argparse.Namespace) -> None:
    """How far off centre the heads of networks are: the table, resumed where it was stopped."""
    out, stop = Path(options.out), stop_requested(options.stop_file)
    photographs: list[Path] = []
    if options.data is not None:
        dataset = read_data(options.data, cache_folder(options.cache) / "data")
        images = next(iter(dataset.splits.values())) if options.split is None else dataset.splits.get(options.split)
        if images is None:
            raise ValueError(
                f"There is no split {quoted(options.split)} in the data: choose {', '.join(dataset.splits)}."
            )
        photographs = list(subsample(images, options.limit or SURVEYED, options.seed).paths)
    if options.events:
        print_events(lambda emit: _surveyed(options.models, out, emit, stop, photographs))
        return
    with EventPrinter() as printer:
        found, files = _surveyed(options.models, out, printer, stop, photographs)
    print(
        f"{len(found['rows'])} heads measured, {len(found['missing'])} without weights here; wrote {', '.join(files)}"
    )


def _photographs(options: argparse.Namespace) -> tuple[Path, ...]:
    """Those on which maps before and after centring are compared. Raises ValueError for an unknown split."""
    if options.data is None:
        return ()
    splits = read_data(options.data, cache_folder(options.cache) / "data").splits
    name = options.split or next(iter(splits))
    if name not in splits:
        raise ValueError(f"There is no split {quoted(name)} in the data: choose {', '.join(splits)}.")
    return subsample(splits[name], options.limit or SURVEYED, options.seed).paths


def _surveyed(
    names: Sequence[str], out: Path, emit: Emit, stop: Callable[[], bool], photographs: Sequence[Path]
) -> tuple[dict[str, Any], list[str]]:
    found = survey(names, out, emit, stop, photographs)
    files = [str(path) for path in write(found, out)]
    emit({"event": "done", "files": files, "n": len(found["rows"]), "missing": found["missing"]})
    return found, files


def _told(made: GaugeRun, found: dict[str, Any], emit: Emit) -> None:
    """The last event, once the files are written; nothing on another rank than the first."""
    if found:
        path = made.out / "gauge.json"
        files = [str(path), *map(str, report.write(found, made.out))]
        said = {key: found[key] for key in ("n", "complete", "stopped", "seconds", "unreadable", "notes")}
        emit({"event": "done", "results": str(path), "files": files, **said})


def _gauge_run(options: argparse.Namespace) -> GaugeRun:
    return GaugeRun(
        options.data, Path(options.out), _model(options.models), options.weights, options.split, options.method,
        listed(options.directions) or DEFAULT, parse_sizes(options.sizes), listed(options.metrics) or (),
        options.protocol, options.limit, options.seed, options.batch, options.images and Path(options.images),
        options.boxes and Path(options.boxes), cache_folder(options.cache), options.device,
        called=options.called, command=repeatable(options), share=options.share,
    )  # fmt: skip


def _model(names: Sequence[str]) -> str:
    """The one model of a sweep. Raises ValueError for several."""
    if len(names) > 1:
        raise ValueError(f"Expected one model to move, got {len(names)}: name one, or ask for --survey.")
    return names[0] if names else zoo.DEFAULT


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `gauge`."""
    add, number = sub.add_argument, partial(add_number, sub)
    add(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"see `bsoftmax models`; default {zoo.DEFAULT}; of --survey: {len(POPULAR)} names",
    )
    add_weights(sub)
    add("--survey", action="store_true", help="a table of how far off centre the heads of MODELs are, instead")
    add("--data", help="a folder or .zip in any layout that train reads, with boxes.csv for localisation")
    add("--directions", default=",".join(DEFAULT), help=f"of {','.join(DIRECTIONS)}; default %(default)s")
    add("--sizes", default="0..4", help="in row norms: 0,0.5,2 or a range of the default ones; default %(default)s")
    add("--method", choices=following(), help="default: CAM where the head allows it, else Grad-CAM")
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
