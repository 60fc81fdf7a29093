"""The commands that measure: evaluate, and compare two results."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import cams, measures, zoo
from .columns import CLAMPS
from .commands import bar_of
from .commands_train import as_events, asked_to_stop, cache_folder, repeatable
from .comparisons import compare
from .evaluation import evaluate
from .localization import PROTOCOLS
from .plans import EvalRun
from .sources import SOURCES
from .stamps import PRECISIONS
from .tables import interval_of, title

METRICS_SHOWN = (
    "average_drop", "increase", "average_gain", "adcc", "deletion", "insertion", "top1_loc", "gt_loc", "max_box_acc_v2",
    "px_ap", "pointing",
)  # fmt: skip


def run_evaluate(options: argparse.Namespace) -> None:
    """Measures fidelity and localisation of maps: every method x source x clamp, with intervals."""
    if options.nice and hasattr(os, "nice"):
        os.nice(options.nice)
    run, stop = _run_of(options), asked_to_stop(options.stop_file)
    if options.events:
        as_events(lambda emit: evaluate(run, emit, stop, workers=options.workers))
        return
    with Lines() as lines:
        done = evaluate(run, lines, stop, workers=options.workers)
    if not done:  # another rank than the first
        return
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    print(honest(found))
    for name, why in found["unreadable"]:
        print(f"counted out: {name} ({why})")
    if not found["complete"]:
        print(f"stopped: {found['n']} of {found['asked']} images; the same command goes on")
    print(f"wrote {', '.join(done['files'])}")


def _run_of(options: argparse.Namespace) -> EvalRun:
    clamps = ("off", "on") if options.clamps == "both" else (options.clamps,)
    return EvalRun(
        options.data, Path(options.out), options.model, options.weights, options.split, _listed(options.methods),
        _listed(options.sources), clamps, options.protocol, options.explain, _listed(options.metrics) or (),
        options.limit, options.seed, options.batch, options.images and Path(options.images),
        options.boxes and Path(options.boxes), cache_folder(options.cache), options.precision, options.device,
        called=options.called, command=repeatable(options), share=options.share,
    )  # fmt: skip


def _listed(words: str | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip())) if words else None


class Lines:
    """Events as a progress bar and lines, for people."""

    def __enter__(self) -> Lines:
        self.bar: tqdm | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "data":
            print(f"{event['n']} images of {event['split']} ({event['layout']}), {len(event['columns'])} columns")
            for note in event["notes"]:
                print(f"note: {note}")
        elif event["event"] == "size":
            print(f"at most {event['passes']:,} passes through the trunk for {event['maps']} distinct maps an image")
        elif event["event"] == "progress":
            if self.bar is None:
                self.bar = bar_of(event["total"], "images")
            self.bar.update(event["done"] - self.bar.n)


def honest(found: dict[str, Any]) -> str:
    """The table as text: one line a column; a star where the paired interval of the difference leaves out 0."""
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
    apart = column["difference"].get(name)
    return interval_of(column["metrics"][name]) + ("*" if apart and (apart["low"] > 0 or apart["high"] < 0) else "")


def run_compare(options: argparse.Namespace) -> None:
    """Compares two results.json column by column; refuses other data unless --anyway."""
    print(compare(Path(options.first), Path(options.second), options.anyway))


def evaluate_options(sub: argparse.ArgumentParser) -> None:
    """What `evaluate` takes."""
    add = sub.add_argument
    add("data", help="a folder or .zip in any layout that train reads, with boxes.csv or masks/ for localisation")
    add("--model", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    add("--weights", default="hub", help="safetensors file for a pretrained trunk; default: the Hub")
    add("--split", help="default: test, else val, else all there is")
    add("--share", type=float, default=EvalRun.share, help="of images for val, where the data names none (see train)")
    add("--methods", help=f"of {','.join(cams.METHODS)}; default: all that are quick")
    add("--sources", help=f"of {','.join(SOURCES)}; default: all the model has")
    add("--clamp", dest="clamps", choices=("both", *CLAMPS), default="both", help="keep positive weights only")
    add("--protocol", choices=PROTOCOLS, default="standard", help="the WSOL benchmark's, or the paper's code")
    add("--explain", choices=("true", "predicted"), help="default: true for places, predicted for fidelity")
    add("--metrics", default="localization,fidelity", help=f"of {','.join(measures.GROUPS)}; default %(default)s")
    add("--limit", type=int, help="at most so many images, every class in proportion")
    add("--seed", type=int, default=0, help="of the limit's choice and of the intervals")
    add("--batch", type=int, default=EvalRun.batch, help="images in the trunk at once; default %(default)s")
    add("--workers", type=int, help="processes on this machine; default: as many as are worth it; torchrun works too")
    add("--device", help="default: a GPU where there is one")
    add("--precision", choices=PRECISIONS, default="float32", help="of the trunk")
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--boxes", help="a CSV (path,x0,y0,x1,y1) or COCO file")
    add("--out", default="evaluation", help="folder for results and records; default %(default)s")
    add("--cache", help="folder for unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    add("--events", action="store_true", help="print one JSON object a line instead of bars")
    add("--stop-file", help="stop and keep what was measured when this file appears (Ctrl-C does the same)")
    add("--nice", type=int, default=0, help="lower the priority by this much")
    add("--called", metavar="NAME", help="what the results call the data set, instead of its path")


def compare_options(sub: argparse.ArgumentParser) -> None:
    """What `compare` takes."""
    sub.add_argument("first", metavar="A", help="results.json, or the folder it is in")
    sub.add_argument("second", metavar="B")
    sub.add_argument("--anyway", action="store_true", help="even of different images")
