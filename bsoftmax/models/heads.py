"""Necks and classifiers, which turn the last feature maps F into logits: `classifier(neck(F))`.

The neck (pooling and the layers after it) is frozen and shared by both branches; the sigmoid branch clones the
classifier.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:

    class TimmNet(nn.Module):
        """The interface of timm's networks besides that of nn.Module."""

        num_classes: int
        num_features: int
        pretrained_cfg: dict[str, Any]

        def forward_features(self, x: Tensor) -> Tensor: ...
        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor: ...
        def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]: ...
        def reset_classifier(self, num_classes: int) -> None: ...
else:
    TimmNet = nn.Module


class Pieces(NamedTuple):
    """A split network; `layer` is the layer of F."""

    trunk: nn.Module
    neck: nn.Module
    classifier: nn.Module
    layer: str


class Features(nn.Module):
    """A trunk made of a sequence of layers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.net(x), None


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


def one_linear(net: TimmNet, distilled: bool = False) -> nn.Linear:
    """The classifier of a timm network as one linear layer, with none of its outputs for an encoder without classes.

    A 1x1 convolution is a linear layer, BatchNorm before one is folded into it, and the mean of two heads is one head:
    of both inputs side by side where each has its own (`distilled`: class and distillation tokens), else of their one.
    Raises ValueError where the logits are no linear layer's.
    """
    found = net.get_classifier()
    if isinstance(found, nn.ModuleList):
        raise ValueError(
            f"{name_of(net)} averages {len(found)} heads, each of a grid of its own, and F is one grid: choose another "
            "trunk."
        )
    if not isinstance(found, tuple) and hasattr(found, "head_dist"):  # both heads in one module (RepViT)
        found = (found.get_submodule("head"), found.get_submodule("head_dist"))
    several = found if isinstance(found, tuple) else (found,)
    heads = [_linear(_with_norm(net, head)) for head in several]
    if not heads or any(head is None for head in heads):
        raise ValueError(
            f"{name_of(net)} has no single linear layer that makes its logits: train it on classes of yours."
        )
    linears = [head for head in heads if head is not None]
    if linears[0].out_features == 0:
        return _made(torch.empty(0, net.num_features * (len(linears) if distilled else 1)), torch.empty(0))
    if len(linears) == 1:
        return linears[0]
    weight = torch.cat([m.weight for m in linears], 1) if distilled else torch.stack([m.weight for m in linears]).sum(0)
    return _made(weight / len(linears), torch.stack([m.bias for m in linears]).mean(0))


def _with_norm(net: nn.Module, head: nn.Module) -> nn.Module:
    """The module of BatchNorm and `head`, where timm names the linear layer alone (EfficientViT-M)."""
    return next((m for m in net.modules() if _norm_linear(m) and head in m.children()), head)


def _norm_linear(module: nn.Module) -> bool:
    kinds = [type(m) for m in module.children() if not isinstance(m, nn.Dropout)]
    return kinds == [nn.BatchNorm1d, nn.Linear]


def _linear(head: nn.Module) -> nn.Linear | None:
    """A head as a linear layer; None where it is not one."""
    if isinstance(head, nn.Identity):
        return _made(torch.empty(0, 0), torch.empty(0))
    if isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1:
        return _made(head.weight.flatten(1), head.bias)
    children = [m for m in head.children() if not isinstance(m, nn.Dropout)]
    if _norm_linear(head):
        return _folded(cast(Any, children[0]), cast(nn.Linear, children[1]))
    if len(children) == 1:
        return _linear(children[0])
    fc = getattr(head, "fc", None)  # of timm's ClassifierHead
    return head if isinstance(head, nn.Linear) else fc if isinstance(fc, nn.Linear) else None


@torch.no_grad()
def _folded(norm: Any, linear: nn.Linear) -> nn.Linear:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = linear.weight @ (norm.bias - norm.running_mean * scale)
    return _made(linear.weight * scale, shift if linear.bias is None else linear.bias + shift)


@torch.no_grad()
def _made(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(1, 1, bias is not None, device=weight.device)
    layer.out_features, layer.in_features = weight.shape
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def name_of(net: nn.Module) -> str:
    """The name of a timm network, else of its class."""
    cfg: dict[str, Any] = getattr(net, "pretrained_cfg", {})
    return str(cfg.get("architecture", type(net).__name__))


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
