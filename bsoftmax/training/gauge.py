"""A branch from a softmax head and few images: first the gauge, which fits N_pen + 2 numbers, then all rows near it.

Both minimise Eq. 12; `models.gauge` has the equation. With about one image a class the gauge is what the images can
decide; the rows, pulled back to it and cut to a low rank, sharpen it. Not of the paper: docs/branches.md compares them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..models.gauge import Gauge
from ..models.losses import balanced_bce
from .solver import Optimum, minimise, stacked
from .vectors import Vectors

PENALTY = 1e-2  # on a, d and c; chosen for the bundled model on wild20/val, see docs/branches.md
PULL, RANK = 0.1, 16  # of the rows towards the gauge, on Eq. 12 summed over classes; rank of what they may add


def linear(head: nn.Module) -> nn.Linear:
    """The head, where it is one linear layer. Raises ValueError for others."""
    if not isinstance(head, nn.Linear):
        raise ValueError("A gauge is fitted to one linear layer, and this head has several: train its branch instead.")
    return head


def fit_gauge(head: nn.Linear, train: Vectors, gauge: Gauge) -> Iterator[Optimum]:
    """Moves a, d and c in place to the minimum of Eq. 12 over all views of the images; yields where the solver is."""
    head = linear(head)
    h, labels = stacked(train, train.good, head.weight.device)
    with torch.no_grad():
        z = h @ head.weight.T + head.bias

    def logits() -> Tensor:
        return gauge.scale * z + (h @ gauge.direction + gauge.offset)[:, None]

    yield from minimise([gauge.scale, gauge.direction, gauge.offset], logits, labels, balanced_bce, PENALTY)
    for part in (gauge.scale, gauge.direction, gauge.offset):
        part.requires_grad_(False)


def fit_rows(head: nn.Linear, train: Vectors, gauge: Gauge, pull: float = PULL, rank: int = RANK) -> Iterator[Optimum]:
    """Trains all rows by Eq. 12, pulled back to the gauge, and keeps the part of `rank` of what they gained.

    Objective: Eq. 12 + pull/(2C) ||W' - W_gauge||^2; then U V is the best approximation of that rank to W' - W_gauge.
    Yields where the solver is; `gauge` is changed in place at the end.
    """
    h, labels = stacked(train, train.good, head.weight.device)
    start = gauge.applied(head)
    W, b = start.weight.detach().clone(), start.bias.detach().clone()
    origin = [start.weight.detach(), start.bias.detach()]
    yield from minimise([W, b], lambda: h @ W.T + b, labels, balanced_bce, pull / head.out_features, origin)
    U, S, V = torch.linalg.svd(W.detach() - origin[0], full_matrices=False)
    gauge.left, gauge.right = U[:, :rank] * S[:rank], V[:rank]
