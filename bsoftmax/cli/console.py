"""What the commands share: progress bars, events as lines or as JSON, stopping, and where things are kept."""

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

SHOWN_SIDE = 1024  # pixels kept of a picture's longer side for figures
LOCAL_OPTIONS = {"--cache": 1, "--events": 0, "--stop-file": 1, "--nice": 1, "--called": 1, "--out": 1, "--workers": 1,
                 "--device": 1}  # fmt: skip
LISTED = 20  # files passed over that are named one by one


def progress_bar(total: int, what: str) -> tqdm[Any]:
    """A progress bar on stderr, gone when it is done."""
    return tqdm(total=total, desc=what, file=sys.stderr, dynamic_ncols=True, leave=False)


def ticker(bar: tqdm[Any]) -> Tick:
    """What moves a bar: called with how much is done, and of how much."""
    return lambda done, total: bar.update(done - bar.n)


class EventPrinter:
    """Events of training, measuring and reproducing as lines and one progress bar, for people."""

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
        """A new stage begins: its bar is a new one."""
        self.close()
        self.counted = False

    def on_done(self, event: Event) -> None:
        """The work is finished."""
        self.close()

    def on_progress(self, event: Event) -> None:
        """Moves the bar of the stage."""
        self.counted = True
        self.move(event["done"], event["total"], event.get("stage", "images"))

    def move(self, done: int, total: int, what: str) -> tqdm[Any]:
        """The bar, at `done` of `total`."""
        if self.bar is None:
            self.bar = progress_bar(total, what)
        self.bar.update(done - self.bar.n)
        return self.bar


def print_events(work: Callable[[Emit], object]) -> None:
    """Does some work and prints its events, one JSON object a line, for programs; its errors are events too."""

    def emit(event: Event) -> None:
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


def stop_requested(path: str | None) -> Callable[[], bool]:
    """Whether the file `path` has appeared or Ctrl-C was pressed once; pressed again it ends the program at once."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    signal.signal(signal.SIGINT, press)
    return lambda: bool(pressed) or (path is not None and os.path.exists(path))


def lower_priority(by: int) -> None:
    """Lowers the priority of this process, where the system can."""
    if by and hasattr(os, "nice"):
        os.nice(by)


def cache_folder(named: str | None) -> Path:
    """Where features and unpacked archives are kept: the folder named, else $BSOFTMAX_CACHE, else ~/.cache/bsoftmax."""
    return Path(named or os.environ.get("BSOFTMAX_CACHE") or Path.home() / ".cache" / "bsoftmax")


def repeatable(options: argparse.Namespace) -> tuple[str, ...]:
    """The words that repeat the run elsewhere: without where this machine keeps things."""
    words, kept = list(options.words), ["bsoftmax"]
    called = f"./{options.called}" if (options.called or "").startswith("-") else options.called
    while words:
        word = words.pop(0)
        name, joined = word.split("=", 1)[0], "=" in word
        if name in LOCAL_OPTIONS:
            del words[: 0 if joined else LOCAL_OPTIONS[name]]
        else:
            kept.append(called if called and word == options.data else word)
    return (*kept, "--out", Path(options.out).name)


def listed(words: str | None) -> tuple[str, ...] | None:
    """The words of a comma-separated option, each once; None where it was not given."""
    return tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip())) if words else None


def open_view(model: DualBranch, path: str | Path, class_name: str | None) -> tuple[Image.Image, View, int]:
    """Picture, view and explained class (default: the predicted one) of one photograph; prints both."""
    image = read_rgb(path, side=SHOWN_SIDE)
    view = View(model, model.preprocess(image))
    p = view.logits("softmax").softmax(1)[0]
    k = int(p.argmax()) if class_name is None else model.class_number(class_name)
    tqdm.write(f"{path}: {model.classes[int(p.argmax())]} {p.max():.3f}, explained: {model.classes[k]} {p[k]:.3f}")
    return image, view, k
