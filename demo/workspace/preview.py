"""Describes a data set, and estimates how long this machine takes for it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from bsoftmax import DualBranch
from bsoftmax.data.sets import ImageSet, Skipped
from bsoftmax.models import zoo
from bsoftmax.utils.language import gettext as _

from ..components.report import Block, listed
from ..language.visitor import translated
from ..server.session import Store

SHOWN = 200  # classes, or skipped files, listed
TIMED = 8  # images in the pass whose time is taken

_rates = Store(8)


def skipped_list(skipped: Sequence[Skipped]) -> list[Block]:
    """The files that were skipped and why, folded; nothing where there are none."""
    if not skipped:
        return []
    items = [f"{name}: {translated(reason)}" for name, reason in skipped[:SHOWN]]
    items += [_("and {n:,} more").format(n=len(skipped) - SHOWN)] if len(skipped) > SHOWN else []
    return [listed(_("{n:,} left out, and why").format(n=len(skipped)), items, folded=True)]


def first_of_each_class(images: ImageSet, most: int = 24) -> list[int]:
    """The index of the first image of each class."""
    first: dict[int, int] = {}
    for n, k in enumerate(images.labels):
        first.setdefault(k, n)
    return [first[k] for k in sorted(first)[:most]]


def passes_a_second(trunk: str) -> float:
    """Images a second through a trunk on this machine, measured in one pass with any weights."""

    def measure() -> float:
        model = zoo.open_model(trunk) if trunk in zoo.bundled() else DualBranch.pretrained(trunk, None)
        return _timed(model.trunk, model.spec.preprocessing.size)

    return _rates.get(trunk, measure)


def passes_of(name: str, model: DualBranch) -> float:
    """The same of an open model."""
    return _rates.get(f"model {name}", lambda: _timed(model.trunk, model.spec.preprocessing.size))


def _timed(net: nn.Module, size: int) -> float:
    x = torch.zeros(TIMED, 3, size, size)
    with torch.inference_mode():
        net(x[:1])
        start = time.perf_counter()
        net(x)
    return TIMED / (time.perf_counter() - start)


def duration(seconds: float) -> str:
    """A time in a unit that fits it."""
    if seconds < 90:
        return _("{n} s").format(n=max(1, round(seconds)))
    minutes, hours = _("{n:.0f} min").format(n=seconds / 60), _("{n:.1f} h").format(n=seconds / 3600)
    return minutes if seconds < 5400 else hours
