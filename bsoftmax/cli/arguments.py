"""Options that several commands have."""

from __future__ import annotations

import argparse

from ..cams.methods import METHODS
from ..models import zoo

MODEL_HELP = "see `bsoftmax models`; default %(default)s"


def add_model(sub: argparse.ArgumentParser, *also: str) -> None:
    """--model, with the other names `also`, and --weights."""
    sub.add_argument(*also, "--model", dest="model", default=zoo.DEFAULT, help=MODEL_HELP)
    add_weights(sub)


def add_weights(sub: argparse.ArgumentParser) -> None:
    """--weights."""
    sub.add_argument("--weights", default="hub", help="safetensors file for a pretrained trunk; default: the Hub")


def add_class(sub: argparse.ArgumentParser) -> None:
    """--class."""
    sub.add_argument("--class", dest="class_name", metavar="CLASS", help="name or number; default: the predicted")


def add_method(sub: argparse.ArgumentParser) -> None:
    """--method."""
    sub.add_argument("--method", choices=METHODS, help="default cam")


def add_long_running(sub: argparse.ArgumentParser, kept: str, name: str) -> None:
    """The options of a long job; `kept`: what a stop keeps, `name`: where --called appears (both for the help)."""
    sub.add_argument("--events", action="store_true", help="print one JSON object a line instead of bars")
    sub.add_argument("--stop-file", help=f"stop and keep what was {kept} when this file appears (Ctrl-C does the same)")
    sub.add_argument("--nice", type=int, default=0, help="lower the priority by this much")
    sub.add_argument("--called", metavar="NAME", help=f"what {name} the data set, instead of its path")
