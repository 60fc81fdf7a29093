"""bsoftmax train: a softmax head and a sigmoid branch for the classes of a data set."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

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
    training, stop = _training(options), stop_requested(options.stop_file)
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


def _training(options: argparse.Namespace) -> TrainRun:
    first = FinetuneConfig if options.stage1 == "finetune" else ProbeConfig
    changed = {"epochs": options.probe_epochs, "lr": options.probe_lr, "solver": options.solver}
    probe = first(seed=options.seed, **{name: value for name, value in changed.items() if value is not None})
    branch = {
        name: getattr(options, name) for name in ("views", "epochs", "lr", "weight_decay", "init", "seed", "solver")
    }
    return TrainRun(
        options.data, Path(options.out), cache_folder(options.cache), options.model, options.weights, options.classes,
        options.stage1, probe, BranchConfig(**branch), options.share, options.seed,
        options.images and Path(options.images), options.half, options.save == "heads", command=repeatable(options),
    )  # fmt: skip


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
    number("--epochs", 1, MANY, default=BranchConfig.epochs, help="of the branch; default %(default)s")
    number("--lr", 0.0, MOST_LR, default=BranchConfig.lr, help="of the branch; default %(default)s")
    decay = BranchConfig.weight_decay
    number("--weight-decay", 0.0, MOST_LR, default=decay, help="of the branch; default %(default)s")
    add(
        "--solver", choices=SOLVERS, default="sgd",
        help="sgd, as the paper does; lbfgs: linear heads at their optimum; auto: that where it is possible",
    )  # fmt: skip
    add("--init", choices=INITS, default=BranchConfig.init)
    number("--share", 0.0, 1.0, default=0.2, help="of images for validation, where the data names none")
    add_seed(sub)
    add("--images", help="where the images are, when they are not beside the lists that name them")
    add("--cache", help="folder for features and unpacked archives; default $BSOFTMAX_CACHE or ~/.cache/bsoftmax")
    parts = ("model", "heads")
    add("--save", choices=parts, default="model", help="heads: without the trunk, for bundled or public ones")
    add("--half", action="store_true", help="store the trunk in half precision")
    add("--out", required=True, help="the .safetensors file to write")
    add_long_running(sub, "learnt", "the card calls")
