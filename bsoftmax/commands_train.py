"""The commands that make models: train, pretrain, and the set of pictures to try them on."""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import backbones, checkpoints
from .commands import bar_of, ticker
from .data import load_squares, read_splits
from .finetune import FinetuneConfig
from .model import DualBranch
from .pretrain import Recipe, averaged_weights, pretrain, targets
from .runs import train
from .sample import write_sample
from .spec import Spec
from .steps import BranchConfig, ProbeConfig
from .worker import Emit, TrainRun


def run_pretrain(options: argparse.Namespace) -> None:
    """Trains a trunk and its softmax head from nothing and writes them as one file."""
    train, val = read_splits(options.data)
    recipe = Recipe(seed=options.seed)
    size = max(stage.size for stage in recipe.stages)
    state = Path(options.out).with_suffix(".state")
    tensors = []
    for split, name in ((train, "train"), (val, "val")):
        with bar_of(len(split), f"decode {name}") as bar:
            tensors.append((load_squares(split, size, ticker(bar)), targets(split)))
    score = None
    with bar_of(0, "train") as bar:
        for step in pretrain(*tensors, len(train.classes), recipe, state, options.device):
            bar.total, bar.n = step.epochs * step.steps, step.epoch * step.steps + step.step
            bar.set_postfix_str(f"epoch {step.epoch + 1}/{step.epochs} loss {step.loss:.3f}", refresh=True)
            if step.val_accuracy is not None:
                score = step.val_accuracy
                bar.write(f"epoch {step.epoch + 1}/{step.epochs}: val top-1 {score:.2f} %, {step.seconds:.0f} s")
    made = {"command": options.command_line, "recipe": recipe.describe(), "data": _described(train, val)}
    stride = recipe.stages[-1].output_stride
    parts = backbones.build(recipe.trunk, None, len(train.classes), stride)
    spec = Spec(recipe.trunk, train.classes, parts.preprocessing, parts.layer, stride, {}, {"trunk": made})
    model = DualBranch(parts, spec)
    model.load_state_dict(averaged_weights(state), strict=False)
    model.save(options.out, half=True)
    print(f"wrote {options.out}; val top-1 in the last epoch: {'not run' if score is None else f'{score:.2f} %'}")


def _described(*splits) -> dict[str, dict]:
    return {s.root.name: {"images": len(s), "sha256": s.fingerprint()} for s in splits}


def run_sample(options: argparse.Namespace) -> None:
    """Draws a small set of pictures with exact boxes and masks, to train and to measure on without any data."""
    print(f"wrote {write_sample(Path(options.out), options.per_class, seed=options.seed)}")


def run_train(options: argparse.Namespace) -> None:
    """Trains a softmax head and a sigmoid branch on a frozen trunk: one file, with its card and report."""
    if options.nice and hasattr(os, "nice"):
        os.nice(options.nice)
    if Path(options.out).suffix != ".safetensors":
        raise ValueError(f"Expected --out to end in .safetensors, got {options.out!r}.")
    run = _run_of(options)
    if options.events:
        stop = asked_to_stop(options.stop_file)
        as_events(lambda emit: train(run, emit, stop))
        return
    with Lines() as lines:
        done = train(run, lines, asked_to_stop(options.stop_file))
    if not done:
        return
    val = done["metrics"]["val"]
    branch = "no branch was trained" if val["sigmoid_top1"] is None else f"branch {val['sigmoid_top1']:.2f} %"
    print(f"val top-1: softmax {val['softmax_top1']:.2f} %, {branch}, {val['images']} images")
    for name, why in done["unreadable"]:
        print(f"counted out: {name} ({why})")
    print(f"frozen weights unchanged: {done['frozen']}")
    print(f"wrote {run.out} (sha256 {checkpoints.file_hash(run.out)}), its card and its report beside it")


def _run_of(options: argparse.Namespace) -> TrainRun:
    first = FinetuneConfig if options.stage1 == "finetune" else ProbeConfig
    asked = {"epochs": options.probe_epochs, "lr": options.probe_lr}
    probe = first(seed=options.seed, **{name: value for name, value in asked.items() if value is not None})
    branch = {name: getattr(options, name) for name in ("views", "epochs", "lr", "weight_decay", "init", "seed")}
    return TrainRun(
        options.data, Path(options.out), cache_folder(options.cache), options.trunk, options.weights, options.classes,
        options.stage1, probe, BranchConfig(**branch), options.share, options.seed,
        options.images and Path(options.images), options.half, command=repeatable(options),
    )  # fmt: skip


def cache_folder(named: str | None) -> Path:
    """Where features and unpacked archives are kept: the folder named, else $BSOFTMAX_CACHE, else ~/.cache/bsoftmax."""
    return Path(named or os.environ.get("BSOFTMAX_CACHE") or Path.home() / ".cache" / "bsoftmax")


HOUSEKEEPING = {"--cache": 1, "--events": 0, "--stop-file": 1, "--nice": 1, "--called": 1, "--out": 1, "--workers": 1,
                "--device": 1}  # fmt: skip


def repeatable(options: argparse.Namespace) -> tuple[str, ...]:
    """The words that repeat the run elsewhere: without where this machine keeps things."""
    words, kept = list(options.words), ["bsoftmax"]
    called = f"./{options.called}" if (options.called or "").startswith("-") else options.called
    while words:
        word = words.pop(0)
        name, joined = word.split("=", 1)[0], "=" in word
        if name in HOUSEKEEPING:
            del words[: 0 if joined else HOUSEKEEPING[name]]
        else:
            kept.append(called if called and word == options.data else word)
    return (*kept, "--out", Path(options.out).name)


def asked_to_stop(path: str | None) -> Callable[[], bool]:
    """Whether the file `path` has appeared or Ctrl-C was pressed once; pressed again it ends the program at once."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    signal.signal(signal.SIGINT, press)
    return lambda: bool(pressed) or (path is not None and os.path.exists(path))


def as_events(work: Callable[[Emit], object]) -> None:
    """Does some work and prints what it tells, one JSON object a line, for programs; its errors are events too."""

    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)

    try:
        work(emit)
    except (ValueError, OSError) as error:
        emit({"event": "error", "message": sentence(error)})
        raise SystemExit(2) from None


def sentence(error: Exception) -> str:
    """An error in words for a person: ours say it themselves, the system's by its own short text."""
    if isinstance(error, OSError) and error.strerror:
        return f"The system refused a file: {error.strerror}; free some space or check the folder's permissions."
    return str(error)


class Lines:
    """Events as progress bars and lines, for people."""

    def __enter__(self) -> Lines:
        self.bar: tqdm | None = None
        self.counted = False  # whether the stage tells of more than its epochs
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in ("stage", "done"):
            self._close()
            self.counted = False
        elif kind == "data":
            print(f"{event['train']} + {event['val']} images of {len(event['classes'])} classes: {event['split']}")
            for name, why in event["skipped"][:20]:
                print(f"passed over: {name} ({why})")
            if len(event["skipped"]) > 20:
                print(f"passed over: {len(event['skipped']) - 20} more")
        elif kind == "size":
            print(f"the features take {event['bytes'] / 1e6:.1f} MB on the disk")
        elif kind == "progress":
            self.counted = True
            self._at(event["done"], event["total"], event["stage"])
        elif kind == "epoch":
            if not self.counted:
                self._at(event["epoch"], event["epochs"], event["stage"])
            shown = event["accuracy"] if event["val_accuracy"] is None else event["val_accuracy"]
            self.bar.set_postfix_str(f"loss {event['loss']:.4f} accuracy {shown:.2f} %")

    def _at(self, done: int, total: int, what: str) -> None:
        if self.bar is None:
            self.bar = bar_of(total, what)
        self.bar.update(done - self.bar.n)
