"""Copies of networks whose activations follow other rules, made by putting other modules in their places.

The network itself is never changed: other threads may be using it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from .view import Evidence

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU)


class UnsuitedError(ValueError):
    """A network that a method has no rules for, found while the method ran."""


class Logits(nn.Module):
    """Images -> logits [n,C], through copies of trunk, neck and classifier."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        model = evidence.view.model
        self.trunk, self.neck, self.classifier = map(copy.deepcopy, (model.trunk, model.neck, evidence.classifier))

    def forward(self, x: Tensor) -> Tensor:
        F, tokens = self.trunk(x)
        logits: Tensor = self.classifier(self.neck(F, tokens))
        return logits


class Own(nn.Module):
    """An activation as one module for each of its uses in a pass, each with an input tensor of its own.

    captum's hooks belong to a module, and replace all of the gradient that its input gets. The first pass counts.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.make: Callable[[], nn.Module] = Clipped if isinstance(activation, nn.ReLU6) else _fresh(activation)
        self.uses, self.turn, self.counted = nn.ModuleList(), 0, False

    def forward(self, x: Tensor) -> Tensor:
        if not self.counted:
            self.uses.append(self.make())
        use, self.turn = self.uses[self.turn % len(self.uses)], self.turn + 1
        return cast(Tensor, use(x.clone()))


def _fresh(activation: nn.Module) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        new = copy.deepcopy(activation)
        if hasattr(new, "inplace"):
            cast(Any, new).inplace = False
        return new

    return make


class Clipped(nn.Module):
    """ReLU6 as relu(x) - relu(x - 6), of which DeepLIFT's rescale rule is that of ReLU6 itself."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.low(x.clone()) - self.high(x - 6))


class Passing(nn.Module):
    """An activation f whose gradient is f(z)/z, so that z times it is f(z) times the gradient behind; 0 at z = 0."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.f = _fresh(activation)()

    def forward(self, z: Tensor) -> Tensor:
        slope = torch.where(z == 0, 0.0, self.f(z) / torch.where(z == 0, 1.0, z))
        return z * slope.detach()


def copied(evidence: Evidence, make: Callable[[nn.Module], nn.Module]) -> Logits:
    """The network from image to logits, with `make(activation)` in the place of every activation."""
    net = Logits(evidence).requires_grad_(False).eval()
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if isinstance(module, ACTIVATIONS):
            net.set_submodule(name, make(module))
    return net
