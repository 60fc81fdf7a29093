"""Necks and classifiers, which turn the last feature maps F into logits: `classifier(neck(F))`.

The neck (pooling and the layers after it) is frozen and shared by both branches; the sigmoid branch clones the
classifier.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """h_i = 1/(PQ) sum_pq F_i^(p,q): [B,N,P,Q] -> [B,N] (Eq. 3)."""

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return F.mean((2, 3))


class FlatGrid(nn.Module):
    """AdaptiveAvgPool(side) and flatten: [B,N,P,Q] -> [B, N*side*side], the input of VGG's MLP."""

    def __init__(self, side: int = 7) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(side)

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        pooled: Tensor = self.pool(F)
        return pooled.flatten(1)


class MLP(nn.Sequential):
    """VGG-16's classifier, 25088 -> 4096 -> 4096 -> C with ReLU and dropout."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, classes),
        )  # fmt: skip


def last_linear(classifier: nn.Module) -> nn.Linear:
    """The last linear layer, whose outputs are the logits.

    Raises ValueError when there is none.
    """
    linears = [m for m in classifier.modules() if isinstance(m, nn.Linear)]
    if not linears:
        raise ValueError(f"Expected a classifier that ends in a linear layer, got {type(classifier).__name__}.")
    return linears[-1]


def clone_head(classifier: nn.Module, init: str = "fresh") -> nn.Module:
    """The sigmoid branch: the same architecture with its own parameters (Sec. 3.3, Eq. 11).

    `init="fresh"`: weights N(0, 0.01), biases 0; `init="clone"`: the parameters of the softmax head.
    Raises ValueError for any other init.
    """
    if init not in ("fresh", "clone"):
        raise ValueError(f"init must be 'fresh' or 'clone', got {init!r}.")
    branch = copy.deepcopy(classifier)
    for module in branch.modules():
        if init == "fresh" and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    return branch.requires_grad_(True)


def resized(classifier: nn.Module, classes: int) -> nn.Module:
    """The classifier with a new last layer for another number of classes: weights N(0, 0.01), biases 0.

    Earlier layers are copied; only the last one is trainable, as a linear probe.
    """
    new = copy.deepcopy(classifier).requires_grad_(False)
    old = last_linear(new)
    fresh = nn.Linear(old.in_features, classes)
    nn.init.normal_(fresh.weight, std=0.01)
    nn.init.zeros_(fresh.bias)
    if old is new:
        return fresh
    name = next(name for name, module in new.named_modules() if module is old)
    new.set_submodule(name, fresh)
    return new


def pools_first(neck: nn.Module) -> bool:
    """Whether the gradient at F is equal at all positions, so that several CAM methods coincide."""
    return isinstance(neck, GlobalAveragePool) or bool(getattr(neck, "uniform", False))


def is_gap_linear(neck: nn.Module, classifier: nn.Module) -> bool:
    """Whether the head is exactly global average pooling and one linear layer (Eq. 3)."""
    return isinstance(neck, GlobalAveragePool) and isinstance(classifier, nn.Linear)
