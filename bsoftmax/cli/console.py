"""Shared by the commands: progress bars, events as lines or JSON, stopping, the cache folder, the view of an image."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from PIL import Image
from tqdm import tqdm

from ..cams.view import Tick, View
from ..images.read import read_rgb
from ..models.dual_branch import DualBranch
from ..utils.events import Emit, Event
from ..utils.text import error_sentence

SHOWN_SIDE = 1024  # pixels of an image's longer side in figures
LOCAL_OPTIONS = {"--cache": 1, "--events": 0, "--stop-file": 1, "--nice": 1, "--called": 1, "--out": 1, "--workers": 1,
                 "--device": 1}  # fmt: skip
LISTED = 20  # skipped files named one by one


def progress_bar(total: int, what: str) -> tqdm[Any]:
    """A progress bar on stderr, removed at the end."""
    return tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True, leave=False)


def ticker(bar: tqdm[Any]) -> Tick:
    """A callback (done, total) that moves the bar."""

    def tick(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return tick


class EventPrinter:
    """Prints the events of a run as lines and one progress bar; `on_<event>` handles an event."""

    def __enter__(self) -> EventPrinter:
        self.bar: tqdm[Any] | None = None
        self.counted = False  # whether the stage reports more than its epochs
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def __call__(self, event: Event) -> None:
        if handler := getattr(self, f"on_{event['event']}", None):
            handler(event)

    def on_stage(self, event: Event) -> None:
        """Begins a stage with a new bar."""
        self.close()
        self.counted = False

    def on_done(self, event: Event) -> None:
        """Removes the bar at the end."""
        self.close()

    def on_progress(self, event: Event) -> None:
        """Moves the bar of the stage."""
        self.counted = True
        self.move(event["done"], event["total"], event.get("stage", "images"))

    def move(self, done: int, total: int, what: str) -> tqdm[Any]:
        """Moves the bar to `done` of `total` and returns it."""
        if self.bar is None:
            self.bar = progress_bar(total, what)
        self.bar.update(done - self.bar.n)
        return self.bar


def print_events(work: Callable[[Emit], object]) -> None:
    """Runs `work` and prints its events and its error as one JSON object a line, for other programs."""

    def emit(event: Event) -> None:
        print(json.dumps(event), flush=True)

    try:
        work(emit)
    except (ValueError, OSError) as error:
        emit({"event": "error", "message": error_sentence(error)})
        raise SystemExit(2) from None


def stop_requested(path: str | None) -> Callable[[], bool]:
    """A function that is True once the file `path` exists or Ctrl-C was pressed; pressed again it ends the program."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    signal.signal(signal.SIGINT, press)
    return lambda: bool(pressed) or (path is not None and os.path.exists(path))


def lower_priority(by: int) -> None:
    """Lowers the priority of this process, where the system supports it."""
    if by and hasattr(os, "nice"):
        os.nice(by)


def cache_folder(named: str | None) -> Path:
    """The folder of features and unpacked archives: as named, else $BSOFTMAX_CACHE, else ~/.cache/bsoftmax."""
    return Path(named or os.environ.get("BSOFTMAX_CACHE") or Path.home() / ".cache" / "bsoftmax")


def repeatable(options: argparse.Namespace) -> tuple[str, ...]:
    """The command that repeats the run on another machine: without LOCAL_OPTIONS, --out by its name alone."""
    words, command = list(options.words), ["bsoftmax"]
    called = f"./{options.called}" if (options.called or "").startswith("-") else options.called
    while words:
        word = words.pop(0)
        name, joined = word.split("=", 1)[0], "=" in word
        if name in LOCAL_OPTIONS:
            del words[: 0 if joined else LOCAL_OPTIONS[name]]
        else:
            command.append(called if called and word == options.data else word)
    return (*command, "--out", Path(options.out).name)


def listed(words: str | None) -> tuple[str, ...] | None:
    """The values of a comma-separated option, each once; None where it was not given."""
    return tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip())) if words else None


def open_view(model: DualBranch, path: str | Path, class_name: str | None) -> tuple[Image.Image, View, int]:
    """Image, view and explained class (default: the predicted one) of a file; prints both classes."""
    image = read_rgb(path, side=SHOWN_SIDE)
    view = View(model, model.preprocess(image))
    p = view.logits("softmax").softmax(1)[0]
    k = int(p.argmax()) if class_name is None else model.class_number(class_name)
    tqdm.write(f"{path}: {model.classes[int(p.argmax())]} {p.max():.3f}, explained: {model.classes[k]} {p[k]:.3f}")
    return image, view, k
