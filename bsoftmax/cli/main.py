"""The command line: one parser, all commands. Bad input ends in one sentence and exit code 2."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..utils.text import error_sentence
from . import app, calibrate, distort, evaluate, explain, gauge, models, pretrain, reproduce, sample, train
from .arguments import OptionError


class Command(NamedTuple):
    """What a command does, whose docstring is its help, and what adds its options to a parser."""

    run: Callable[[argparse.Namespace], None]
    add_options: Callable[[argparse.ArgumentParser], None]


_MODULES = (explain, distort, train, calibrate, pretrain, sample, evaluate, gauge, reproduce, models, app)
COMMANDS = {module.__name__.rpartition(".")[2]: Command(module.run, module.add_options) for module in _MODULES}
COMMANDS["diagnose"] = Command(distort.run_diagnosis, distort.add_diagnosis_options)
COMMANDS["compare"] = Command(evaluate.run_comparison, evaluate.add_comparison_options)


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
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.run.__doc__, description=command.run.__doc__)
        command.add_options(sub)
        sub.set_defaults(run=command.run)
    return root
