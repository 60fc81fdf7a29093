"""What is said of a data set before anything is trained on it, and how long that would take. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bsoftmax import DualBranch, backbones, zoo
from bsoftmax.data import ImageSet, Skipped
from bsoftmax.layouts import DataSet, train_val
from bsoftmax.training import ProbeConfig

from .session import Store
from .settings import Settings
from .sheet import Block, listed, table, text

SHOWN = 200  # classes, or skipped files, written out
TIMED = 8  # images in the pass whose time is taken
HEADS = 2e-9  # seconds an image, class and feature number, in an epoch of one head: a small part of the whole

_rates = Store(8)


@dataclass(frozen=True)
class Plan:
    """A data set as it would be split, in words and numbers."""

    train: ImageSet
    val: ImageSet
    split: str
    skipped: tuple[Skipped, ...]

    @classmethod
    def of(cls, data: DataSet, settings: Settings) -> Plan:
        """Raises ValueError (or a kind of it) when the set cannot be split."""
        return cls(*train_val(data, settings.share, settings.seed), data.skipped)

    def blocks(self, estimate: str) -> list[Block]:
        """Classes and counts, the split, what was left out and why, the time."""
        names, C = self.train.classes, len(self.train.classes)
        rows = list(zip(names, self.train.counts(), self.val.counts()))
        n = len(self.train) + len(self.val)
        out = [text(f"{n:,} images of {C:,} classes.", "strong"), text(self.split), text(estimate, "quiet")]
        caption = "Images of each class" + (f", the first {SHOWN}" if C > SHOWN else "")
        out.append(table(caption, ("class", "training", "validation"), rows[:SHOWN]))
        return [*out, *left_out(self.skipped)]

    def samples(self, most: int = 24) -> list[int]:
        """The place in `train` of the first image of each class."""
        return firsts(self.train, most)


def left_out(skipped: Sequence[Skipped]) -> list[Block]:
    """What was passed over and why, folded away; nothing where there is none."""
    if not skipped:
        return []
    items = [f"{name}: {reason}" for name, reason in skipped[:SHOWN]]
    items += [f"and {len(skipped) - SHOWN:,} more"] if len(skipped) > SHOWN else []
    return [listed(f"{len(skipped):,} left out, and why", items, folded=True)]


def firsts(images: ImageSet, most: int = 24) -> list[int]:
    """The place of the first image of each class."""
    first: dict[int, int] = {}
    for n, k in enumerate(images.labels):
        first.setdefault(k, n)
    return [first[k] for k in sorted(first)[:most]]


def passes_a_second(trunk: str) -> float:
    """Images a second through a trunk on this machine, as one pass takes; its weights may be any."""

    def measure() -> float:
        if trunk in zoo.bundled():
            model = zoo.open_model(trunk)
            net, size = model.trunk, model.spec.preprocessing.size
        else:
            parts = backbones.build(trunk, None)
            net, size = parts.trunk, parts.preprocessing.size
        return _timed(net, size)

    return _rates.get(trunk, measure)


def passes_of(name: str, model: DualBranch) -> float:
    """The same of a model that is open."""
    return _rates.get(f"model {name}", lambda: _timed(model.trunk, model.spec.preprocessing.size))


def _timed(net: nn.Module, size: int) -> float:
    x = torch.zeros(TIMED, 3, size, size)
    with torch.inference_mode():
        net(x[:1])
        start = time.perf_counter()
        net(x)
    return TIMED / (time.perf_counter() - start)


def estimate(plan: Plan, settings: Settings) -> str:
    """How long training would take, as a sentence. Raises ValueError for an unknown trunk."""
    rate = passes_a_second(settings.trunk)
    passes = settings.views * len(plan.train) + len(plan.val)
    about = f"{passes:,} passes of the trunk at {rate:,.0f} a second, then {settings.epochs} epochs of the branch"
    seconds = passes / rate + HEADS * 2 * settings.epochs * len(plan.train) * len(plan.train.classes) * 1024
    if settings.stage1 == "finetune":  # a pass back costs twice a pass forth, but only through the last stage
        seconds += 2 * ProbeConfig.epochs * len(plan.train) / rate
        about = f"{about}, the trunk's last stage trained with the first"
    return f"About {duration(seconds + 6)}: {about}."


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
