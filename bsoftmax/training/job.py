"""A training run: its options, its data, and the events (plain dicts) that it emits."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..data import layouts
from ..data.limits import Limits
from ..data.sets import ImageSet, Skipped
from ..models import zoo
from ..models.dual_branch import DualBranch
from ..utils.distributed import Ranks
from ..utils.events import Emit
from . import feature_cache
from .loop import BranchConfig, Epoch, ProbeConfig
from .vectors import Vectors

T = TypeVar("T")
STAGES = ("probe", "finetune")
_PROBE, _BRANCH = ProbeConfig(solver="auto"), BranchConfig(solver="auto")


@dataclass(frozen=True)
class TrainRun:
    """Options of a training run. `classes`: "own" (the data's), "kept" (the model's) or "auto" (kept if they match)."""

    data: str
    out: Path
    cache: Path
    trunk: str = zoo.DEFAULT
    weights: str = "hub"
    classes: str = "auto"
    stage1: str = "probe"
    probe: BranchConfig = _PROBE  # of stage 1; a FinetuneConfig for "finetune"
    branch: BranchConfig = _BRANCH
    share: float = 0.2
    seed: int = 0
    images: Path | None = None
    half: bool = False
    heads: bool = False  # write the heads alone, without the trunk
    limits: Limits | None = None
    command: tuple[str, ...] = ()

    def key(self) -> str:
        """Identifies a run that resumes: a hash of all options but those of the machine."""
        options = {k: v for k, v in asdict(self).items() if k not in ("out", "cache", "command", "limits")}
        return hashlib.sha256(json.dumps(options, default=str, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Data:
    """Both splits and their origin."""

    train: ImageSet
    val: ImageSet
    split: str
    layout: str
    skipped: tuple[Skipped, ...]

    def describe(self, bad: dict[str, int]) -> dict[str, Any]:
        """For the checkpoint's metadata; `bad`: the number of unreadable images of each split."""
        out: dict[str, Any] = {"layout": self.layout, "split": self.split, "skipped": len(self.skipped)}
        for name, images in (("train", self.train), ("val", self.val)):
            counts = images.counts() if len(images.classes) <= 1000 else []
            out[name] = {"images": len(images), "sha256": images.fingerprint(), "unreadable": bad[name]}
            out[name]["counts"] = counts
        return out


class TrainingJob:
    """A run in progress: its options, the callable that takes its events, whether it was stopped."""

    def __init__(self, run: TrainRun, emit: Emit, stop: Callable[[], bool], ranks: Ranks) -> None:
        self.run, self.ranks, self.start = run, ranks, time.monotonic()
        self.emit: Emit = emit if ranks.rank == 0 else lambda event: None
        # several ranks could see it at different batches
        self.stop_requested = stop if self.ranks.world == 1 else lambda: False
        self.stopped, self.progress_at, self.current = False, 0.0, ""
        self.state = run.cache / "states" / run.key()

    @property
    def device(self) -> torch.device:
        """This rank's device; of one process a GPU where there is one."""
        return (
            self.ranks.device if self.ranks.world > 1 else torch.device("cuda" if torch.cuda.is_available() else "cpu")
        )

    def stop(self) -> bool:
        """Whether to end early."""
        self.stopped = self.stopped or self.stop_requested()
        return self.stopped

    def stage(self, stage: str, title: str) -> None:
        """Emits the beginning of a stage."""
        self.current = stage
        self.emit({"event": "stage", "stage": stage, "title": title})

    def note(self, message: str) -> None:
        """Emits a sentence to be shown."""
        self.emit({"event": "note", "message": message})

    def tick(self, done: int, total: int) -> None:
        """Emits the progress of a stage, at most four times a second."""
        now = time.monotonic()
        if done >= total or now - self.progress_at > 0.25:
            self.progress_at = now
            self.emit({"event": "progress", "stage": self.current, "done": done, "total": total})

    def counted(self, items: Iterable[T], total: int) -> Iterator[T]:
        """The items, with progress; too few to be stopped, as the training is over."""
        for done, item in enumerate(items):
            yield item
            self.tick(done + 1, total)

    def epochs(self, stage: str, steps: Iterable[Epoch]) -> dict[str, Any]:
        """Emits every epoch until the last or a stop; returns the numbers of the last one."""
        last: dict[str, Any] = {}
        for epoch in steps:
            last = {k: v for k, v in asdict(epoch).items() if k not in ("recalled", "seconds")}
            self.emit({"event": "epoch", "stage": stage, **asdict(epoch)})
            if self.stop():
                break
        return last

    def check_space(self, size: int) -> None:
        """Raises ValueError when the disk of the cache has less than `size` bytes free."""
        self.run.cache.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(self.run.cache).free) < size:
            raise ValueError(
                f"The features take {size / 1e6:.0f} MB and {str(self.run.cache)!r} has {free / 1e6:.0f} MB left: make "
                "room there, or name another folder with --cache."
            )

    def read(self) -> Data:
        """Reads and splits the data set."""
        run = self.run
        self.stage("data", "Reading the data set")
        found = layouts.read_data(run.data, run.cache / "data", run.limits, images=run.images)
        data = Data(*layouts.train_val(found, run.share, run.seed), found.layout, found.skipped)
        counts = {"train": len(data.train), "val": len(data.val), "classes": list(data.train.classes)}
        self.emit({"event": "data", **counts, "skipped": data.skipped, "split": data.split, "layout": data.layout})
        return data

    def features(self, model: DualBranch, data: Data, ignore_stop: bool = False) -> tuple[Vectors, Vectors]:
        """Penultimate vectors of both splits: one trunk pass an image and view.

        Raises Stopped when `stop` returns True, unless `ignore_stop`: a fine-tuned model needs them to be measured.
        """
        run = self.run
        sets = ((data.train, run.branch.views), (data.val, 1))
        sizes = [feature_cache.bytes_needed(model, len(images), views) for images, views in sets]
        passes = [len(images) * views for images, views in sets]
        self.emit({"event": "size", "bytes": sum(sizes)})
        self.check_space(sum(sizes))
        self.stage("features", "Looking at every photograph once")
        vectors = []
        for n, (images, views) in enumerate(sets):
            before = sum(passes[:n])
            tick = lambda done, total, before=before: self.tick(before + done, sum(passes))  # noqa: E731
            vectors.append(
                feature_cache.features(
                    model, images, run.cache / "features", views, run.seed, tick=tick,
                    stop=None if ignore_stop else self.stop, ranks=self.ranks, warn=self.note,
                )
            )  # fmt: skip
        return vectors[0], vectors[1]
