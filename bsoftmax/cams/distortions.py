"""Shifts of the last layer's rows that leave softmax unchanged (Sec. 3.2), and measures of their effect on maps.

With w'_k = w_k + d for every class k, each logit changes by d . h, softmax does not change (Eq. 8), and the class
activation map changes by sum_i d_i F_i (Eq. 9). `shifted` adds d to a classifier.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.heads import last_linear
from ..utils.text import quoted


def channel_shift(N: int, channels: Sequence[int], delta: float) -> Tensor:
    """d = delta on the chosen channels, 0 elsewhere (Eq. 9): [N_pen]. Raises ValueError for an unknown channel."""
    if any(not 0 <= i < N for i in channels):
        odd = next(i for i in channels if not 0 <= i < N)
        raise ValueError(f"Channels are numbered 0 to {N - 1}, got {quoted(odd)}: choose one of those.")
    d = torch.zeros(N)
    d[list(channels)] = delta
    return d


def uniform_shift(N: int, delta: float) -> Tensor:
    """d = -delta on every channel (Eq. 10): [N_pen]."""
    return torch.full((N,), -float(delta))


def sign_flip(w: Tensor, percent: float) -> Tensor:
    """d_i = -2 w_i on the `percent` % largest positive weights of one class's row w [N_pen], so that each changes sign.

    ceil(percent * n / 100) of the n positive weights are flipped; of equal ones the lower channel comes first.
    Raises ValueError for a percentage outside 0 to 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"The share of flipped channels is a percentage from 0 to 100, got {percent:g}.")
    order = w.argsort(descending=True, stable=True)
    count = -int(-percent * int((w > 0).sum()) // 100)
    d = torch.zeros_like(w)
    d[order[:count]] = -2 * w[order[:count]]
    return d


def centring(weight: Tensor) -> Tensor:
    """d = -mean over classes of the rows [C,N_pen], after which every channel has a class-mean weight of 0."""
    return -weight.mean(0)


@dataclass(frozen=True, eq=False)
class Shift:
    """A vector d [N_pen] added to the row of every class, and a number to every bias: softmax sees neither.

    `key` names it in files; `radius`: |d| in units of the rows' root mean square norm.
    """

    key: str
    d: Tensor
    bias: float = 0.0
    radius: float = 0.0

    def apply(self, classifier: nn.Module) -> nn.Module:
        """The shifted classifier, which shares all other parameters. Raises ValueError when d does not fit."""
        out = shifted(classifier, self.d)
        if self.bias:
            last = last_linear(out)
            old = torch.zeros(last.out_features).to(last.weight) if last.bias is None else last.bias.detach()
            last.bias = nn.Parameter(old + self.bias, requires_grad=False)
        return out


def shifted(classifier: nn.Module, d: Tensor, only: int | None = None) -> nn.Module:
    """The classifier with d [N_pen] added to the last layer's rows, or only to that of class `only` (a control).

    All other layers are shared with the original. Raises ValueError when d does not fit.
    """
    last = last_linear(classifier)
    if d.shape != (last.in_features,):
        raise ValueError(
            f"Expected a shift of {last.in_features} numbers, one a channel, got the shape {tuple(d.shape)}."
        )
    weight = last.weight.detach().clone()
    rows = slice(None) if only is None else only
    weight[rows] += d.to(weight)
    layer = nn.Linear(last.in_features, last.out_features, bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = last.bias
    return _replace(classifier, last, layer)


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """A copy of a module in which the submodule `old` is `new`; all other parameters are shared."""
    if module is old:
        return new
    clone = copy.copy(module)
    clone._modules = {name: child and _replace(child, old, new) for name, child in module._modules.items()}
    return clone


def ranks(values: Tensor) -> Tensor:
    """Ranks of [n] values from 0, equal values have the mean of their ranks: float64 [n]."""
    inverse: Tensor
    counts: Tensor
    _, inverse, counts = torch.unique(values.double(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double() - 1
    return (last - (counts.double() - 1) / 2)[inverse]


def spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two maps; nan when either is constant."""
    x, y = (ranks(t.flatten()) for t in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt())


def sign_changes(a: Tensor, b: Tensor) -> float:
    """Share of positions whose strict sign differs between two maps."""
    return float((a.sign() * b.sign() < 0).double().mean())


def box_iou(a: tuple[int, int, int, int] | None, b: tuple[int, int, int, int] | None) -> float:
    """Intersection over union of boxes (x0, y0, x1, y1) in inclusive pixels; 1 when both are empty, 0 when one is."""
    if a is None or b is None:
        return float(a is b)
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inner = max(wide, 0) * max(high, 0)
    area = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return inner / (area - inner)
