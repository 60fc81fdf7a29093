"""bsoftmax train: a softmax head and a sigmoid branch for the classes of a data set."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..training.finetuning import FinetuneConfig
from ..training.job import STAGES, TrainRun
from ..training.loop import INITS, MOST_LR, SOLVERS, BranchConfig, ProbeConfig
from ..training.run import train
from ..utils.events import Event
from ..utils.files import file_hash
from .arguments import MANY, add_long_running, add_model, add_number, add_seed
from .console import (
    LISTED,
    EventPrinter,
    cache_folder,
    lower_priority,
    print_events,
    repeatable,
    stop_requested,
)


def run(options: argparse.Namespace) -> None:
    """Trains a softmax head and a sigmoid branch on a frozen trunk: one file, with its card and report."""
    lower_priority(options.nice)
    if Path(options.out).suffix != ".safetensors":
        raise ValueError(f"Expected --out to end in .safetensors, got {options.out!r}.")
    training, stop = training_options(options), stop_requested(options.stop_file)
    if options.events:
        print_events(lambda emit: train(training, emit, stop))
        return
    with TrainingPrinter() as printer:
        done = train(training, printer, stop)
    if not done:  # another rank than the first
        return
    val = done["metrics"]["val"]
    branch = "no branch was trained" if val["sigmoid_top1"] is None else f"branch {val['sigmoid_top1']:.2f} %"
    print(f"val top-1: softmax {val['softmax_top1']:.2f} %, {branch}, {val['images']} images")
    for name, reason in done["unreadable"]:
        print(f"counted out: {name} ({reason})")
    print(f"frozen weights unchanged: {done['frozen']}")
    print(f"wrote {training.out} (sha256 {file_hash(training.out)}), its card and its report beside it")


SGD_OPTIONS = {
    "probe": {"epochs": "probe_epochs", "lr": "probe_lr"},
    "branch": {name: name for name in ("epochs", "lr", "weight_decay", "init")},
}  # options of a stage that SGD alone has


def training_options(options: argparse.Namespace) -> TrainRun:
    """The run that the command's options describe. Raises ValueError for options that contradict each other."""
    first = FinetuneConfig if options.stage1 == "finetune" else ProbeConfig
    probe = first(seed=options.seed, **_solved(options, "probe"))
    branch = BranchConfig(views=options.views, seed=options.seed, **_solved(options, "branch"))
    return TrainRun(
        options.data, Path(options.out), cache_folder(options.cache), options.model, options.weights, options.classes,
        options.stage1, probe, branch, options.share, options.seed, options.images and Path(options.images),
        options.half, options.save == "heads", command=repeatable(options),
    )  # fmt: skip


def _solved(options: argparse.Namespace, stage: str) -> dict[str, Any]:
    """The configuration of a stage: "auto" means SGD where one of SGD's own options is given.

    Raises ValueError where an optimum is asked for with them.
    """
    named = {key: value for key, name in SGD_OPTIONS[stage].items() if (value := getattr(options, name)) is not None}
    steps = {key for key, value in named.items() if value != "gauge"}
    if options.solver == "lbfgs" and steps:
        word = SGD_OPTIONS[stage][min(steps)].replace("_", "-")
        raise ValueError(f"--{word} says how SGD steps, and an optimum has no steps: leave it out, or --solver sgd.")
    return {**named, "solver": "sgd" if options.solver == "auto" and steps else options.solver}


class TrainingPrinter(EventPrinter):
    """Prints the events of a training run."""

    def on_data(self, event: Event) -> None:
        """Prints the images and the skipped files."""
        print(f"{event['train']} + {event['val']} images of {len(event['classes'])} classes: {event['split']}")
        for name, reason in event["skipped"][:LISTED]:
            print(f"passed over: {name} ({reason})")
        if len(event["skipped"]) > LISTED:
            print(f"passed over: {len(event['skipped']) - LISTED} more")

    def on_note(self, event: Event) -> None:
        """Prints a sentence."""
        print(f"note: {event['message']}")

    def on_size(self, event: Event) -> None:
        """Prints the size of the features."""
        print(f"the features take {event['bytes'] / 1e6:.1f} MB on the disk")

    def on_epoch(self, event: Event) -> None:
        """Shows loss and accuracy; epochs move the bar of a stage without finer progress."""
        done = event["epoch"] if not self.counted or self.bar is None else self.bar.n
        bar = self.move(done, event["epochs"], event["stage"])
        shown = event["accuracy"] if event["val_accuracy"] is None else event["val_accuracy"]
        bar.set_postfix_str(f"loss {event['loss']:.4f} accuracy {shown:.2f} %")


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    add = sub.add_argument
    number = partial(add_number, sub)
    add("data", help="class folders, a .zip of them, an official archive as it lies on disk, or hf:owner/name")
    add_model(sub, "--trunk")
    add(
        "--classes", choices=("auto", "own", "kept"), default="auto", help="the data's, or the model's own (no stage 1)"
    )
    add("--stage1", choices=STAGES, default="probe", help="softmax head alone, or with the trunk's last stage")
    given = f"default {ProbeConfig.epochs}, fine-tuned {FinetuneConfig.epochs}"
    number("--probe-epochs", 1, MANY, help=f"of stage 1; {given}")
    number("--probe-lr", 0.0, MOST_LR, help=f"of stage 1; default {ProbeConfig.lr}, fine-tuned {FinetuneConfig.lr}")
    number("--views", 1, MANY, default=BranchConfig.views, help="trunk passes an image; default %(default)s")
    number("--epochs", 1, MANY, help=f"of the branch by SGD; default {BranchConfig.epochs}")
    number("--lr", 0.0, MOST_LR, help=f"of the branch by SGD; default {BranchConfig.lr}")
    number("--weight-decay", 0.0, MOST_LR, help=f"of the branch by SGD; default {BranchConfig.weight_decay}")
    add(
        "--solver", choices=SOLVERS, default="auto",
        help="lbfgs: linear heads at their optimum; sgd, as the paper does; auto, the default: the optimum where "
        "it can be had and nothing is said of epochs or rates",
    )  # fmt: skip
    add("--init", choices=INITS, help="of the branch by SGD; gauge: made as `calibrate` does")
    number("--share", 0.0, 1.0, default=0.2, help="of images for validation, where the data names none")
    add_seed(sub)
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--cache", help="folder for features and unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    parts = ("model", "heads")
    add("--save", choices=parts, default="model", help="heads: without the trunk, for bundled or public ones")
    add("--half", action="store_true", help="store the trunk in half precision")
    add("--out", required=True, help="the .safetensors file to write")
    add_long_running(sub, "learnt", "the card calls")
