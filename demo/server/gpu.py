"""A GPU for the many passes of Score-CAM and RISE: the machine's own, or one that ZeroGPU lends for moments.

Everything else runs once, on the CPU. On Hugging Face's ZeroGPU a decorated function runs in a forked process:
arguments and results are pickled. Where the package `spaces` is missing nothing asks for it.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

try:
    import spaces  # before torch, which it changes
except ImportError:
    spaces = None

import gradio as gr
import torch
from torch import Tensor

from bsoftmax import DualBranch
from bsoftmax.cams import view

LOG = logging.getLogger("bsoftmax")
ZERO_GPU = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
START, LONGEST = 10, 120  # seconds: to fork and to copy the model; that a visitor's quota is asked for at most
MILLION_PARAMETERS_A_SECOND = 2000  # times passes; a cautious guess

_copies: WeakKeyDictionary[DualBranch, DualBranch] = WeakKeyDictionary()
_copying = threading.Lock()


def seconds(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> int:
    """How long the GPU is asked for: from the number of passes left and the size of the model."""
    passes = len(x) * masks.count - done * view.CHUNK
    work = passes * sum(p.numel() for p in model.parameters()) / 1e6
    return min(LONGEST, START + round(work / MILLION_PARAMETERS_A_SECOND))


def lent(duration: Callable[..., int]) -> Callable[[Callable], Callable]:
    """`spaces.GPU` on ZeroGPU, elsewhere a decorator that changes nothing."""
    return spaces.GPU(duration=duration) if ZERO_GPU else lambda function: function


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _copied(model: DualBranch) -> DualBranch:
    """The model on the GPU, as long as the page keeps its own, which stays on the CPU for everything else."""
    with _copying:
        if model not in _copies:
            _copies[model] = copy.deepcopy(model).to(_device())
        return _copies[model]


@lent(duration=seconds)
def _on_gpu(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> Iterator[Tensor]:
    device = _device()
    for h in view.masked_vectors(_copied(model), x.to(device), masks.to(device), done):
        yield h.cpu()


def _masked_vectors(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> Iterator[Tensor]:
    """As `view.masked_vectors`, on the GPU; the CPU goes on where none is lent, it is taken away, or is full."""
    try:
        for h in _on_gpu(model, x, masks, done):
            done += 1
            yield h
    except (gr.Error, RuntimeError) as error:  # no quota left, none free, its time was over; or torch's own words
        LOG.warning("no GPU: %s", error)
        yield from view.masked_vectors(model, x, masks, done)


masked_vectors: Any = _masked_vectors if ZERO_GPU or torch.cuda.is_available() else view.masked_vectors
