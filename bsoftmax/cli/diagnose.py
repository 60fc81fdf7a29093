"""bsoftmax diagnose: how far from centred a head is, and what shift its maps survive."""

from __future__ import annotations

import argparse

from ..cams import effects, methods
from ..models import zoo
from .arguments import MODEL_HELP, add_class, add_method, add_weights
from .console import open_view


def run(options: argparse.Namespace) -> None:
    """Where a head stands in the freedom softmax leaves it, and what shift its maps of given images survive."""
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
        sides = [f"{found[s] / found['scale']:+.3g}" if found[s] else "none in reach" for s in ("down", "up")]
        print(f"  half the box is lost at delta = {sides[0]} and {sides[1]} (in units of the class's rms weight)")


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `diagnose`."""
    sub.add_argument("model", nargs="?", default=zoo.DEFAULT, help=MODEL_HELP)
    sub.add_argument("--image", dest="images", action="append", default=[], help="repeat for several")
    add_weights(sub)
    add_class(sub)
    add_method(sub)
