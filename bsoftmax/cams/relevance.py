"""DeepLIFT and LRP at pixels: contributions handed back from the score to the pixels, one pass back for an image.

captum's DeepLIFT hangs hooks on modules while it runs: here on those of a copy, which nothing else uses.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..models.dual_branch import DualBranch
from .channels import mean_gradient
from .copies import Logits, Own, Passing, UnsuitedError, copied
from .pixels import by_image
from .view import Evidence, Tick

CLOSE = 0.02  # of the score's difference, by which DeepLIFT's contributions may miss it
LINEAR = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, nn.Flatten)
SHARED = (*LINEAR, nn.MaxPool2d, nn.ReLU, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.Tanh)


def no_rule(rules: tuple[type[nn.Module], ...], model: DualBranch) -> str | None:
    """Why a method that has rules for these layers alone cannot be used with a model, in one sentence, or None."""
    layers = (m for part in (model.trunk, model.neck, model.softmax) for m in part.modules())
    others = (m for m in layers if not isinstance(m, rules) and type(m).__module__.startswith("torch.nn"))
    odd = next((type(m).__name__ for m in others if next(m.children(), None) is None), None)
    sentence = f"{{method}} has no rule for {odd}, which this network uses: take Integrated Gradients."
    return sentence if odd else None


no_deeplift = partial(no_rule, (*SHARED, nn.Sigmoid, nn.Softplus))
no_lrp = partial(no_rule, (*SHARED, nn.GELU, nn.SiLU))


class _Row(nn.Module):
    """Images -> sum_j m_j l_j: [n,1]."""

    def __init__(self, net: Logits, m: Tensor) -> None:
        super().__init__()
        self.net, self.m = net, m

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x) @ self.m[:, None])


def deeplift(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum over colours of DeepLIFT's contributions by the rescale rule (Shrikumar et al. 2017): [B,H,W].

    From the mean colour of the training images, which is 0 here; sum_pq S is the score less that of this colour, for
    log-odds through the mean gradient between the two logits. Raises UnsuitedError where they do not add up.
    """
    net, x = copied(evidence, Own), evidence.view.x
    with torch.no_grad():
        start = net(torch.zeros_like(x[:1]))
        for module in net.modules():
            if isinstance(module, Own):
                module.counted = True
        end = net(x)
    m = mean_gradient(evidence.source, start.expand_as(end), end, evidence.k)
    apart = ((end - start) * m).sum(1)

    def attribute(b: int, image: Tensor) -> Tensor:
        if tick:
            tick(b, len(x))
        found = _contributions(_Row(net, m[b]), image)
        if (found.sum() - apart[b]).abs() > CLOSE * apart[b].abs():
            raise UnsuitedError("DeepLIFT's contributions do not add up in this network: take Integrated Gradients.")
        return found

    return by_image(evidence, attribute).sum(1)


def _contributions(row: _Row, image: Tensor) -> Tensor:
    from captum.attr import DeepLift

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum tells that it uses hooks
            return cast(Tensor, DeepLift(row).attribute(image, torch.zeros_like(image)))
    except (RuntimeError, AssertionError) as error:  # captum's own, of a layer that it cannot take
        raise UnsuitedError("captum's DeepLIFT cannot take a layer of this network: take another method.") from error


def lrp(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum over colours of the relevance R_i = sum_j a_i w_ij / z_j R_j (Bach et al. 2015): [B,H,W].

    The epsilon rule with epsilon 0; activations hand relevance on as it is. So it is the image times the gradient at
    it, with f(z)/z for the derivative of an activation f (Ancona et al. 2018, Proposition 1): in a network of ReLUs
    the image times its gradient.
    """
    net, x = copied(evidence, Passing), evidence.view.x.detach().clone().requires_grad_()
    if tick:
        tick(0, 1)
    with torch.enable_grad():
        score = evidence.source.score(net(x), evidence.k).sum()
        (G,) = torch.autograd.grad(score, x)
    return (x.detach() * G).sum(1)
