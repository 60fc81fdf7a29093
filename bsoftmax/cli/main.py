"""The command line: one parser, a module for each command. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

import torch

from ..utils.text import error_sentence
from . import calibrate, compare, diagnose, distort, evaluate, explain, models, pretrain, reproduce, sample, train
from .arguments import OptionError

# Each module has `run(options)`, whose docstring is the command's help, and `add_options(parser)`.
COMMANDS = {
    "explain": explain, "distort": distort, "diagnose": diagnose, "train": train, "calibrate": calibrate,
    "pretrain": pretrain, "sample": sample, "evaluate": evaluate, "compare": compare, "reproduce": reproduce,
    "models": models,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parser().parse_args(arguments)
        options.words, options.command_line = arguments, "bsoftmax " + shlex.join(arguments)
        options.run(options)
    except (ValueError, OSError, OptionError) as error:
        print(f"bsoftmax: {error_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bsoftmax: stopped; what was written is kept.", file=sys.stderr)
        return 130
    finally:
        # without it, a rank that ends can abort the others
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    root = argparse.ArgumentParser("bsoftmax", description="What a softmax head and a sigmoid branch look at.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.run.__doc__, description=module.run.__doc__)
        module.add_options(sub)
        sub.set_defaults(run=module.run)
    return root
