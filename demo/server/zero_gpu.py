"""A GPU lent for moments by Hugging Face's ZeroGPU, for the passes of Score-CAM and RISE; elsewhere the CPU runs them.

On ZeroGPU a decorated function runs in a forked process: arguments and results are pickled, and the model there is a
copy. Where the package `spaces` is missing nothing asks for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

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


def seconds(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> int:
    """How long the GPU is asked for: from the number of passes left and the size of the model."""
    passes = len(x) * masks.count - done * view.CHUNK
    work = passes * sum(p.numel() for p in model.parameters()) / 1e6
    return min(LONGEST, START + round(work / MILLION_PARAMETERS_A_SECOND))


def gpu(duration: Callable[..., int]) -> Callable[[Callable], Callable]:
    """`spaces.GPU` on ZeroGPU, elsewhere a decorator that changes nothing."""
    return spaces.GPU(duration=duration) if ZERO_GPU else lambda function: function


@gpu(duration=seconds)
def _on_gpu(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> Iterator[Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for h in view.masked_vectors(model.to(device), x.to(device), masks.to(device), done):
        yield h.cpu()


def _masked_vectors(model: DualBranch, x: Tensor, masks: view.Masks, done: int = 0) -> Iterator[Tensor]:
    """As `view.masked_vectors`, on the GPU; the CPU goes on where none is lent, or where it was taken away."""
    try:
        for h in _on_gpu(model, x, masks, done):
            done += 1
            yield h
    except gr.Error as error:  # no quota left, none free, or its time was over
        LOG.warning("no GPU: %s", error)
        yield from view.masked_vectors(model, x, masks, done)


masked_vectors: Any = _masked_vectors if ZERO_GPU else view.masked_vectors
