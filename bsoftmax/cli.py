"""The command line. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence

import torch

from . import cams, zoo
from . import commands as do
from . import commands_evaluate as judge
from . import commands_reproduce as repeat
from . import commands_train as make
from .finetune import FinetuneConfig
from .sources import SOURCES
from .steps import BranchConfig, ProbeConfig
from .worker import STAGES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    options.words, options.command_line = arguments, "bsoftmax " + shlex.join(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"bsoftmax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bsoftmax: stopped; what was written is kept.", file=sys.stderr)
        return 130
    finally:
        # ranks that end without it may abort one another
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
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
    train = command("train", make.run_train)
    pretrain = command("pretrain", make.run_pretrain)
    sample = command("sample", make.run_sample)
    judge.evaluate_options(command("evaluate", judge.run_evaluate))
    judge.compare_options(command("compare", judge.run_compare))
    repeat.reproduce_options(command("reproduce", repeat.run_reproduce))
    command("models", do.run_models)
    _explain_options(explain)
    _distort_options(distort)
    diagnose.add_argument("model", nargs="?", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    diagnose.add_argument("--image", dest="images", action="append", default=[], help="repeat for several")
    _train_options(train)
    pretrain.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for sub in (explain, distort):
        sub.add_argument("--model", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    for sub in (explain, distort, diagnose, train):
        sub.add_argument("--weights", default="hub", help="safetensors file for a pretrained trunk; default: the Hub")
    for sub in (explain, distort, diagnose):
        sub.add_argument("--class", dest="class_name", metavar="CLASS", help="name or number; default: the predicted")
    for sub in (distort, diagnose):
        sub.add_argument("--method", choices=cams.METHODS, help="default cam")
    pretrain.add_argument("data", help="folder with train/<class>/ and val/<class>/")
    for sub in (train, pretrain):
        sub.add_argument("--out", required=True, help="the .safetensors file to write")
    for sub in (train, pretrain, sample):
        sub.add_argument("--seed", type=int, default=0)
    sample.add_argument("out", help="the folder to write")
    sample.add_argument("--per-class", type=int, default=30, help="pictures of each class; default %(default)s")
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
    add = sub.add_argument
    add("data", help="class folders, a .zip of them, an official archive as it lies on disk, or hf:owner/name")
    add("--trunk", "--model", default=zoo.DEFAULT, help="see `bsoftmax models`; default %(default)s")
    add(
        "--classes", choices=("auto", "own", "kept"), default="auto", help="the data's, or the model's own (no stage 1)"
    )
    add("--stage1", choices=STAGES, default="probe", help="softmax head alone, or with the trunk's last stage")
    add(
        "--probe-epochs", type=int, help=f"of stage 1; default {ProbeConfig.epochs}, fine-tuned {FinetuneConfig.epochs}"
    )
    add("--probe-lr", type=float, help=f"of stage 1; default {ProbeConfig.lr}, fine-tuned {FinetuneConfig.lr}")
    add("--views", type=int, default=BranchConfig.views, help="trunk passes an image; default %(default)s")
    add("--epochs", type=int, default=BranchConfig.epochs, help="of the branch; default %(default)s")
    add("--lr", type=float, default=BranchConfig.lr, help="of the branch; default %(default)s")
    add("--weight-decay", type=float, default=BranchConfig.weight_decay, help="of the branch; default %(default)s")
    add("--init", choices=("fresh", "clone"), default=BranchConfig.init)
    add("--share", type=float, default=0.2, help="of images for validation, where the data names none")
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--cache", help="folder for features and unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    add("--half", action="store_true", help="store the trunk in half precision")
    add("--events", action="store_true", help="print one JSON object a line instead of bars")
    add("--stop-file", help="stop and keep what was learnt when this file appears (Ctrl-C does the same)")
    add("--nice", type=int, default=0, help="lower the priority by this much")
    add("--called", metavar="NAME", help="what the card calls the data set, instead of its path")
