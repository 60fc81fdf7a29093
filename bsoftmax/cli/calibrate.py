"""bsoftmax calibrate: a sigmoid branch for a pretrained classifier, from about a thousand photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..models import zoo
from ..training.calibration import LABELS, CalibrationRun, calibrate
from ..training.feature_cache import Stopped
from ..utils.events import Event
from .arguments import MANY, MODEL_HELP, add_long_running, add_number, add_weights
from .console import EventPrinter, cache_folder, lower_priority, print_events, repeatable, stop_requested


def run(options: argparse.Namespace) -> None:
    """Fits a sigmoid branch to a pretrained softmax head from few photographs: one scale, one direction, few rows."""
    lower_priority(options.nice)
    if Path(options.out).suffix != ".safetensors":
        raise ValueError(f"Expected --out to end in .safetensors, got {options.out!r}.")
    options.data = options.images
    job = CalibrationRun(
        options.images, Path(options.out), cache_folder(options.cache), options.model, options.weights, options.labels,
        options.views, options.rank, options.save == "heads", repeatable(options),
    )  # fmt: skip
    stop = stop_requested(options.stop_file)
    try:
        if options.events:
            print_events(lambda emit: calibrate(job, emit, stop))
            return
        with CalibrationPrinter() as printer:
            done = calibrate(job, printer, stop)
    except Stopped:
        raise ValueError("Stopped before all photographs were seen; what was computed is used next time.") from None
    for name, reason in done["unreadable"]:
        print(f"counted out: {name} ({reason})")
    for head, numbers in done["metrics"]["fit"].items():
        print(
            f"{head:8} top-1 {numbers['top1']:.1f} %, its class above 0.5 in {numbers['true_found']:.1f} %, classes "
            f"above 0.5: {numbers['classes_found']:.1f} of an image, Eq. 12 {numbers['eq12']:.3f}"
        )
    print(f"measured on the {numbers['images']} photographs it was fitted to; wrote {options.out} and its card")


class CalibrationPrinter(EventPrinter):
    """Prints the events of a calibration."""

    def on_data(self, event: Event) -> None:
        """Prints the photographs and where their classes come from."""
        source = "their folders" if event["labels"] == "folders" else "the softmax head's answers"
        print(f"{event['images']} photographs, classes from {source}")

    def on_fit(self, event: Event) -> None:
        """Shows the loss and the gradient."""
        bar = self.move(event["iterations"], max(event["iterations"], 1), "branch")
        bar.set_postfix_str(f"loss {event['loss']:.4f} gradient {event['gradient']:.1e}")


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `calibrate`."""
    add = sub.add_argument
    add("model", metavar="MODEL", nargs="?", default=zoo.DEFAULT, help=MODEL_HELP)
    add_weights(sub)
    add("--images", required=True, help="photographs: class folders (names or WordNet IDs), or any folder")
    add("--labels", choices=LABELS, default="auto", help="of the photographs; head: what the softmax head answers")
    default = CalibrationRun
    add_number(sub, "--views", 1, MANY, default=default.views, help="trunk passes a photograph; default %(default)s")
    add_number(
        sub, "--rank", 0, MANY, default=default.rank, help="of the rows; 0: the gauge alone; default %(default)s"
    )
    add("--cache", help="folder for features; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    add("--save", choices=("model", "heads"), default="model", help="heads: without the trunk")
    add("--out", required=True, help="the .safetensors file to write")
    add_long_running(sub, "seen", "the card calls")
