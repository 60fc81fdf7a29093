"""bsoftmax diagnose: how far a head is from centred, and how large a shift its maps tolerate."""

from __future__ import annotations

import argparse

from ..cams import effects, methods
from ..models import zoo
from .arguments import MODEL_HELP, add_class, add_method, add_weights
from .console import open_view


def run(options: argparse.Namespace) -> None:
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


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `diagnose`."""
    sub.add_argument("model", nargs="?", default=zoo.DEFAULT, help=MODEL_HELP)
    sub.add_argument("--image", dest="images", action="append", default=[], help="repeat for several")
    add_weights(sub)
    add_class(sub)
    add_method(sub)
