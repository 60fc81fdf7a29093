"""The command line. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

import torch

from . import cams, zoo
from . import commands as do
from .sources import SOURCES
from .training import BranchConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    options.command_line = "bsoftmax " + shlex.join(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"bsoftmax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bsoftmax: stopped; what was written is kept.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bsoftmax", description="What a softmax head and a sigmoid branch look at.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    explain = command("explain", do.run_explain)
    distort = command("distort", do.run_distort)
    diagnose = command("diagnose", do.run_diagnose)
    train = command("train", do.run_train)
    pretrain = command("pretrain", do.run_pretrain)
    command("models", do.run_models)
    _explain_options(explain)
    _distort_options(distort)
    diagnose.add_argument("model", nargs="?", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    diagnose.add_argument("--image", dest="images", action="append", default=[], help="repeat for several")
    _train_options(train)
    pretrain.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for sub in (explain, distort, train):
        sub.add_argument("--model", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    for sub in (explain, distort, diagnose, train):
        sub.add_argument("--weights", default="hub", help="safetensors file for a pretrained trunk; default: the Hub")
    for sub in (explain, distort, diagnose):
        sub.add_argument("--class", dest="class_name", metavar="CLASS", help="name or number; default: the predicted")
    for sub in (distort, diagnose):
        sub.add_argument("--method", choices=cams.METHODS, help="default cam")
    for sub in (train, pretrain):
        sub.add_argument("data", help="folder with train/<class>/ and val/<class>/")
        sub.add_argument("--out", required=True, help="the .safetensors file to write")
        sub.add_argument("--seed", type=int, default=0)
    return parser


def _explain_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("images", nargs="+", metavar="IMAGE")
    sub.add_argument("--source", action="append", choices=SOURCES, help="repeat for several; default softmax, sigmoid")
    sub.add_argument("--method", action="append", choices=cams.METHODS, help="repeat for several; default cam")
    sub.add_argument("--clamp", choices=("paper", "on", "off"), default="paper", help="keep positive weights only")
    sub.add_argument("--scale", choices=("each", "shared", "signed"), default="each")
    sub.add_argument("--out", default="bsoftmax.png", help=".png, .pdf or .npz; default %(default)s")


def _distort_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("image", metavar="IMAGE")
    sub.add_argument("--channel", dest="channels", type=int, action="append", help="repeat for several")
    sub.add_argument("--delta", type=float, default=0.0, help="added to these channels (Eq. 9)")
    sub.add_argument("--uniform", type=float, default=0.0, help="subtracted from every channel (Eq. 10)")
    sub.add_argument("--flip", type=float, default=0.0, metavar="PERCENT", help="of the class's positive channels")
    sub.add_argument("--centre", action="store_true", help="subtract the class mean of every channel")
    sub.add_argument("--only", action="store_true", help="on the explained class alone: softmax does see that")
    sub.add_argument("--both", action="store_true", help="into the sigmoid branch as well")
    sub.add_argument("--out", default="distorted.png", help=".png, .pdf or .gif; default %(default)s")


def _train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--views", type=int, default=BranchConfig.views)
    sub.add_argument("--epochs", type=int, default=BranchConfig.epochs)
    sub.add_argument("--lr", type=float, default=BranchConfig.lr)
    sub.add_argument("--init", choices=("fresh", "clone"), default=BranchConfig.init)
    sub.add_argument("--half", action="store_true", help="store the trunk in half precision")
