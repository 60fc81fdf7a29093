"""Options that several commands have."""

from __future__ import annotations

import argparse
from typing import Any

from ..cams.methods import METHODS
from ..models import zoo
from ..utils.text import quoted

MOST_SEED = 2**63 - 1  # torch takes no larger one
MANY = 10**9  # images, epochs, processes: more than anybody means

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
    """--method, of those whose maps follow a shift of the weights."""
    sub.add_argument("--method", choices=following(), help="default cam")


def following() -> list[str]:
    """The methods whose maps follow a shift of the weights without another pass of the trunk."""
    return [key for key, method in METHODS.items() if method.follows]


def add_long_running(sub: argparse.ArgumentParser, kept: str, name: str) -> None:
    """The options of a long job; `kept`: what a stop keeps, `name`: where --called appears (both for the help)."""
    sub.add_argument("--events", action="store_true", help="print one JSON object a line instead of bars")
    sub.add_argument("--stop-file", help=f"stop and keep what was {kept} when this file appears (Ctrl-C does the same)")
    add_number(sub, "--nice", 0, 20, default=0, help="lower the priority by this much")
    sub.add_argument("--called", metavar="NAME", help=f"what {name} the data set, instead of its path")


class OptionError(Exception):
    """A value of an option that cannot be; the message says what was expected, what was found, what to do."""


def add_number(sub: argparse.ArgumentParser, name: str, low: float, high: float, **more: Any) -> None:
    """An option whose value is a number from `low` to `high`, a whole one where both are.

    The parser then raises OptionError, which argparse does not put behind its usage as it does a ValueError.
    """
    kind = int if isinstance(low, int) and isinstance(high, int) else float

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:  # NaN is in no range
            what = "a whole number" if kind is int else "a number"
            raise OptionError(f"{name} must be {what} from {low:,} to {high:,}, got {quoted(text)}: write another.")
        return value

    sub.add_argument(name, type=read, **more)


def add_seed(sub: argparse.ArgumentParser, **more: Any) -> None:
    """--seed."""
    add_number(sub, "--seed", 0, MOST_SEED, default=0, **more)
