"""Attributions at pixels, through captum: saliency, SmoothGrad and Integrated Gradients.

They need the gradient of the trunk, which runs anew for every class, source and head; maps are [B,H,W], as the input.
The trunk stays frozen: only the image has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor

from .view import Evidence, Tick

SAMPLES, NOISE, SEED = 25, 0.15, 0  # of SmoothGrad: noisy images, their noise as a share of the image's range
STEPS = 50  # of Integrated Gradients
AT_ONCE = 5  # images in a pass with its gradient


def missing() -> str | None:
    """How to get captum where it is not installed, in one sentence, or None."""
    if find_spec("captum"):
        return None
    return "{method} needs captum, which is not here: pip install 'bsoftmax[captum]'."


def scorer(evidence: Evidence, b: int, total: int = 0, tick: Tick | None = None) -> Callable[[Tensor], Tensor]:
    """Scores [n] of image b's class for images [n,3,H,W]; `tick` is told how many of `total` images are done."""
    done = 0

    def score(x: Tensor) -> Tensor:
        nonlocal done
        if tick:
            tick(min(done, total), total)
        done += len(x)
        return evidence.of_images(x, evidence.k[b].expand(len(x)))

    return score


def by_image(evidence: Evidence, attribute: Callable[[int, Tensor], Tensor]) -> Tensor:
    """What `attribute(b, x)` [1,3,H,W] returns for every image, one behind another."""
    x = evidence.view.x.detach()
    return torch.cat([attribute(b, x[b : b + 1].clone().requires_grad_()).detach() for b in range(len(x))])


def saliency(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum over colours of |dscore/dx| (Simonyan et al. 2014): [B,H,W]."""
    from captum.attr import Saliency

    return by_image(evidence, lambda b, x: cast(Tensor, Saliency(scorer(evidence, b, 1, tick)).attribute(x))).sum(1)


def smoothgrad(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum over colours of |mean over SAMPLES of dscore/dx at x + e| (Smilkov et al. 2017): [B,H,W].

    e is normal with a standard deviation of NOISE times the image's range, from a fixed seed.
    """
    from captum.attr import Saliency

    total = SAMPLES * len(evidence.view.x)

    def attribute(b: int, x: Tensor) -> Tensor:
        told = tick and (lambda done, _: tick(b * SAMPLES + done, total))
        gradient = Saliency(scorer(evidence, b, SAMPLES, told))
        parts = noisy(x.detach()).split(AT_ONCE)
        found = [gradient.attribute(part.requires_grad_(), abs=False).sum(0, keepdim=True) for part in parts]
        return torch.stack(found).sum(0)

    return (by_image(evidence, attribute) / SAMPLES).abs().sum(1)


def noisy(x: Tensor) -> Tensor:
    """SAMPLES copies of an image [1,3,H,W] with noise: [SAMPLES,3,H,W]."""
    std = (NOISE * (x.max() - x.min())).expand(SAMPLES, *x.shape[1:])
    return x + torch.normal(0.0, std.cpu(), generator=torch.Generator().manual_seed(SEED)).to(x)


def integrated_gradients(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum over colours of x integral_0^1 dscore/dx (t x) dt (Sundararajan et al. 2017, Eq. 1): [B,H,W].

    From the mean colour of the training images, which is 0 here; sum_pq S is the score less that of this colour.
    """
    from captum.attr import IntegratedGradients

    total = STEPS * len(evidence.view.x)

    def attribute(b: int, x: Tensor) -> Tensor:
        told = tick and (lambda done, _: tick(b * STEPS + done, total))
        method = IntegratedGradients(scorer(evidence, b, STEPS, told))
        return cast(Tensor, method.attribute(x, n_steps=STEPS, internal_batch_size=AT_ONCE))

    return by_image(evidence, attribute).sum(1)
