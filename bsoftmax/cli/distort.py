"""bsoftmax distort: before and after a shift that softmax cannot see; bsoftmax diagnose: where a head stands in it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from ..cams import effects, methods
from ..cams.sweep import before_after, write_gif
from ..images.export import save_figure
from ..models import zoo
from ..utils.files import atomic_open
from .arguments import MANY, MODEL_HELP, add_class, add_method, add_model, add_number, add_weights
from .console import open_view, progress_bar, ticker


def run(options: argparse.Namespace) -> None:
    """Before and after a distortion that softmax cannot see: figure (.png, .pdf) or sweep (.gif), and its numbers."""
    model = zoo.open_model(options.model, options.weights)
    method = options.method or methods.default(model)
    image, view, k = open_view(model, options.image, options.class_name)
    chosen = {f.name: getattr(options, f.name) for f in dataclasses.fields(effects.Distortion)}
    distortion = effects.Distortion(**chosen | {"channels": tuple(options.channels or ())})
    outcome = effects.distort(view, k, method, distortion)
    out, label = Path(options.out), model.classes[k].replace("_", " ")
    if out.suffix.lower() == ".gif":
        with progress_bar(0, "sweep") as bar:
            write_gif(out, image, view, k, method, distortion, ticker(bar))
    else:
        save_figure(before_after(image, label, methods.METHODS[method].label, outcome, distortion), out)
    numbers = {"image": options.image, "model": options.model, "class": model.classes[k], "method": method}
    numbers |= {"distortion": effects.protocol(distortion), "tau": effects.TAU, **outcome.numbers}
    with atomic_open(out.with_suffix(".json")) as file:
        file.write(json.dumps(numbers, indent=2).encode())
    print(f"{distortion.equation()}: max |dp| {outcome.numbers['max_dp']:.1e}")
    for source, moved in outcome.numbers["maps"].items():
        print(f"  {source:9} rank correlation {moved['spearman']:.3f}, box IoU {moved['box_iou']:.3f}")
    print(f"wrote {out} and {out.with_suffix('.json').name}")


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `distort`."""
    sub.add_argument("image", metavar="IMAGE")
    add_number(sub, "--channel", 0, MANY, dest="channels", action="append", help="repeat for several")
    shift = effects.MAX_SHIFT
    add_number(sub, "--delta", -shift, shift, default=0.0, help="added to these channels (Eq. 9)")
    add_number(sub, "--uniform", -shift, shift, default=0.0, help="subtracted from every channel (Eq. 10)")
    add_number(sub, "--flip", 0.0, 100.0, default=0.0, metavar="PERCENT", help="of the class's positive channels")
    sub.add_argument("--centre", action="store_true", help="subtract the class mean of every channel")
    sub.add_argument("--only", action="store_true", help="on the explained class alone: softmax does see that")
    sub.add_argument("--both", action="store_true", help="into the sigmoid branch as well")
    sub.add_argument("--out", default="distorted.png", help=".png, .pdf or .gif; default %(default)s")
    add_model(sub)
    add_class(sub)
    add_method(sub)


def run_diagnosis(options: argparse.Namespace) -> None:
    """How far the rows of a head are from centred, and the smallest shifts that destroy its maps of given images."""
    model = zoo.open_model(options.model, options.weights)
    for branch in effects.branches(model):
        gauge = effects.gauge(model.classifier(branch))
        print(
            f"{branch}: norm of the class-mean row {gauge['mean_norm']:.4g}, of a row {gauge['row_norm']:.4g}: "
            f"{gauge['share']:.1%} (0 %: centred, the gauge weight decay pulls to)"
        )
    if alike := effects.row_cosines(model):
        print(
            f"a class's rows in the two heads: mean cosine {alike['rows']:.3f}, less their class means "
            f"{alike['centred']:.3f}"
        )
    for path in options.images:
        _, view, k = open_view(model, path, options.class_name)
        found = effects.tolerance(view, k, options.method or methods.default(model))
        scale, shifts = found["scale"], (found["down"], found["up"])
        sides = [f"{shift / scale:+.3g}" if shift and scale else "none in reach" for shift in shifts]
        print(f"  half the box is lost at delta = {sides[0]} and {sides[1]} (in units of the class's rms weight)")


def add_diagnosis_options(sub: argparse.ArgumentParser) -> None:
    """The options of `diagnose`."""
    sub.add_argument("model", nargs="?", default=zoo.DEFAULT, help=MODEL_HELP)
    sub.add_argument("--image", dest="images", action="append", default=[], help="repeat for several")
    add_weights(sub)
    add_class(sub)
    add_method(sub)
