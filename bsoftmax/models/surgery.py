"""Splits timm networks into trunk, neck and classifier, and modifies the paper's networks.

`classifier(neck(*trunk(x)))` computes what the network computed. The trunk returns (F, tokens): the feature maps, and
for transformers the other tokens that the neck needs (None elsewhere).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as nnf
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from .heads import MLP, FlatGrid, GlobalAveragePool

L = TypeVar("L", bound=nn.Module)

if TYPE_CHECKING:

    class TimmNet(nn.Module):
        """The interface of timm's networks besides that of nn.Module."""

        num_classes: int
        num_features: int
        pretrained_cfg: dict[str, Any]

        def forward_features(self, x: Tensor) -> Tensor: ...
        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor: ...
        def get_classifier(self) -> nn.Module: ...
        def reset_classifier(self, num_classes: int) -> None: ...
else:
    TimmNet = nn.Module


class Pieces(NamedTuple):
    """A split network; `layer` is the layer of F."""

    trunk: nn.Module
    neck: nn.Module
    classifier: nn.Module
    layer: str


class Trunk(nn.Module):
    """A convolutional timm network without its head: x -> (F [B,N,P,Q], None)."""

    def __init__(self, net: TimmNet, channels_last: bool = False) -> None:
        super().__init__()
        self.net, self.channels_last = net, channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        F = self.net.forward_features(x)
        return (F.permute(0, 3, 1, 2) if self.channels_last else F), None


class TimmNeck(nn.Module):
    """The layers of a timm network between its last feature maps and its last linear layer."""

    def __init__(self, net: TimmNet, channels_last: bool, uniform: bool) -> None:
        super().__init__()
        self.net, self.channels_last, self.uniform = net, channels_last, uniform

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.net.forward_head(F.permute(0, 2, 3, 1) if self.channels_last else F, pre_logits=True)


class TokenTrunk(nn.Module):
    """A vision transformer without its head: x -> (patches [B,N,P,Q], the other inputs of the head).

    With `norm` the patches are normalised, and the other inputs are all tokens, unnormalised; without, they are the
    class and register tokens.
    """

    def __init__(self, net: VisionTransformer, norm: nn.Module | None) -> None:
        super().__init__()
        self.net, self.norm = net, norm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.net.patch_embed.dynamic_feat_size(x.shape[2:])
        x = self.net.forward_features(x)
        prefix = self.net.num_prefix_tokens
        patches: Tensor = (x if self.norm is None else self.norm(x))[:, prefix:]
        return patches.transpose(1, 2).unflatten(2, grid), x[:, :prefix] if self.norm is None else x


class ClassTokenNeck(nn.Module):
    """The last block, norm and class token of a transformer, as a function of the patches normalised by `norm1`.

    F is taken there since the class token does not depend on the patches after the last block, and before `norm1`
    only up to scale (sum_i G_i F_i would be 0).
    """

    uniform = False

    def __init__(self, net: VisionTransformer, block: Block) -> None:
        super().__init__()
        self.net, self.block = net, block

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        block, prefix = self.block, tokens.shape[1] - F.shape[2] * F.shape[3]
        read = torch.cat([block.norm1(tokens[:, :prefix]), F.flatten(2).transpose(1, 2)], dim=1)
        x = tokens + block.ls1(block.attn(read))
        x = x + block.ls2(block.mlp(block.norm2(x)))
        return self.net.forward_head(self.net.norm(x), pre_logits=True)


class PatchPoolNeck(nn.Module):
    """The pooling and norm of a transformer that pools its patches."""

    def __init__(self, net: VisionTransformer) -> None:
        super().__init__()
        self.net, self.uniform = net, net.global_pool == "avg"

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        return self.net.forward_head(torch.cat([tokens, F.flatten(2).transpose(1, 2)], dim=1), pre_logits=True)


def generic(net: TimmNet) -> Pieces:
    """Splits any timm network before its head and before its last linear layer.

    Raises ValueError for a network whose features are not maps, or whose logits are not those of one linear layer.
    """
    classifier = net.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise ValueError(
            f"{_name(net)} has no single linear layer that makes its logits: train it on classes of yours."
        )
    if isinstance(net, VisionTransformer):
        return transformer(net)
    net.reset_classifier(0)
    F = net.eval().forward_features(torch.zeros(1, 3, *_probe_size(net)))
    if F.ndim != 4:
        raise ValueError(f"{_name(net)} gives features of shape {tuple(F.shape)}, not maps: choose another trunk.")
    channels_last = F.shape[1] != net.num_features and F.shape[3] == net.num_features
    neck = _timm_neck(net, F.detach(), channels_last, below=_used_children(net, F))
    return Pieces(Trunk(net, channels_last), neck, classifier, "forward_features")


def _name(net: TimmNet | VisionTransformer) -> str:
    cfg: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # set by timm.create_model
    return str(cfg.get("architecture", type(net).__name__))


def _probe_size(net: TimmNet) -> tuple[int, int]:
    _, height, width = net.pretrained_cfg["input_size"]
    return (height, width) if net.pretrained_cfg.get("fixed_input_size") else (96, 96)


def _timm_neck(net: TimmNet, F: Tensor, channels_last: bool, below: set[str]) -> nn.Module:
    """GlobalAveragePool where the network computes just that, else its own layers, removed from the trunk."""
    F = torch.rand_like(F).requires_grad_()
    h = net.forward_head(F, pre_logits=True)
    (G,) = torch.autograd.grad((h * torch.randn_like(h)).sum(), F, retain_graph=True)
    maps, G = (F.permute(0, 3, 1, 2), G.permute(0, 3, 1, 2)) if channels_last else (F, G)
    above = _used_children(net, h) - below
    bare = h.is_meta  # built for its names and shapes alone, of which pooling has none
    if not above and h.shape[1] == maps.shape[1] and (bare or torch.allclose(h, maps.mean((2, 3)), atol=1e-5)):
        return GlobalAveragePool()
    head = copy.copy(net)
    head._modules = {k: m for k, m in net._modules.items() if k in above or m is None or not list(m.parameters())}
    for child in above:
        net._modules[child] = nn.Identity()
    # Pooling first gives all positions the same gradient, whatever follows (ConvNeXt's LayerNorm).
    uniform = not bare and bool(torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6))
    return TimmNeck(head, channels_last, uniform)


def _used_children(net: nn.Module, out: Tensor) -> set[str]:
    """Names of the child modules whose parameters `out` depends on."""
    named = [(name.split(".")[0], p) for name, p in net.named_parameters()]
    if not out.requires_grad:
        return set()
    grads = torch.autograd.grad(out.sum(), [p for _, p in named], retain_graph=True, allow_unused=True)
    return {child for (child, _), grad in zip(named, grads) if grad is not None}


def transformer(net: VisionTransformer) -> Pieces:
    """Splits a vision transformer where its logits depend on every patch.

    Raises ValueError for a class-token network whose last block is not timm's Block.
    """
    classifier, block = net.head, net.blocks[-1]
    head = copy.copy(net)
    head._parameters = {}
    keep = ("norm", "fc_norm", "head_drop", "attn_pool")
    head._modules = {k: m for k, m in net._modules.items() if k in keep}
    if net.global_pool != "token":
        net.fc_norm, net.head = nn.Identity(), nn.Identity()
        net.attn_pool = None  # type: ignore[assignment]  # as in timm without attention pooling
        head.norm, head.head = nn.Identity(), nn.Identity()
        return Pieces(TokenTrunk(net, None), PatchPoolNeck(head), classifier, "norm")
    if type(block) is not Block:
        raise ValueError(
            f"{_name(net)} ends in a {type(block).__name__}, not a plain transformer block: choose another trunk."
        )
    layer = f"blocks.{len(net.blocks) - 1}.norm1"
    net.blocks = net.blocks[:-1]
    net.norm, net.fc_norm, net.head = nn.Identity(), nn.Identity(), nn.Identity()
    head.head = nn.Identity()
    return Pieces(TokenTrunk(net, copy.deepcopy(block.norm1)), ClassTokenNeck(head, block), classifier, layer)


def _layer(net: nn.Module, name: str, kind: type[L]) -> L:
    """A submodule by its dotted name. Raises TypeError when it is of another type."""
    module = net.get_submodule(name)
    if not isinstance(module, kind):
        raise TypeError(f"Expected {name} to be a {kind.__name__}, got a {type(module).__name__}.")
    return module


def resnet50(net: TimmNet) -> Pieces:
    """ResNet-50 with layer4 at stride 1, undilated: 2048x14x14 at 224 px, GAP + linear."""
    for name in ("layer4.0.conv2", "layer4.0.downsample.0"):
        _layer(net, name, nn.Conv2d).stride = (1, 1)
    return generic(net)._replace(layer="layer4")


def vgg16(net: TimmNet) -> Pieces:
    """VGG-16 without its last pool (512x14x14), with its MLP behind AdaptiveAvgPool(7)."""
    fc1, fc2 = (_layer(net, f"pre_logits.{name}", nn.Conv2d) for name in ("fc1", "fc2"))
    last = _layer(net, "head.fc", nn.Linear)
    classifier = MLP(512 * 49, fc1.out_channels, last.out_features)
    for name, source in (("0", fc1), ("3", fc2), ("6", last)):
        linear = _layer(classifier, name, nn.Linear)
        linear.weight = nn.Parameter(source.weight.flatten(1))
        linear.bias = cast(nn.Parameter, source.bias)
    return Pieces(Features(_layer(net, "features", nn.Sequential)[:-1]), FlatGrid(7), classifier, "features[-2]")


def vgg16_cam(net: TimmNet) -> Pieces:
    """VGG-16 without its last pool, then a random conv6 3x3 512 -> 1024, ReLU, GAP and a random linear layer."""
    conv6 = nn.Conv2d(512, 1024, 3, padding=1)
    nn.init.kaiming_normal_(conv6.weight, nonlinearity="relu")
    if conv6.bias is not None:
        nn.init.zeros_(conv6.bias)
    layers = nn.Sequential(*_layer(net, "features", nn.Sequential)[:-1], conv6, nn.ReLU())
    return Pieces(Features(layers), GlobalAveragePool(), nn.Linear(1024, net.num_classes), "conv6")


class Features(nn.Module):
    """A trunk made of a sequence of layers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.net(x), None


class FlatReduction(nn.Module):
    """Inception's reduction block at stride 1, its pooling branch too."""

    def __init__(self, block: nn.Module, branches: tuple[tuple[str, ...], tuple[str, ...]], pool_first: bool) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(*(getattr(block, name) for name in names)) for names in branches)
        self.pool_first = pool_first
        for sequence in (self.left, self.right):
            conv = _layer(sequence[-1], "conv", nn.Conv2d)
            conv.stride, conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_first:
            x = nnf.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        return torch.cat([self.left(x), self.right(x), nnf.max_pool2d(x, 3, stride=1, padding=1)], 1)


def inception_v3(net: TimmNet) -> Pieces:
    """Inception-v3 at 14x14: a pool and Mixed_6a at stride 1, then Mixed_7a at stride 1; GAP + linear."""
    _layer(net, "Conv2d_1a_3x3.conv", nn.Conv2d).padding = (1, 1)
    for name in ("Pool1", "Pool2"):
        _layer(net, name, nn.MaxPool2d).ceil_mode = True
    six = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
    net.Mixed_6a = FlatReduction(net.get_submodule("Mixed_6a"), six, pool_first=True)
    seven = (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
    net.Mixed_7a = FlatReduction(net.get_submodule("Mixed_7a"), seven, pool_first=False)
    return generic(net)._replace(layer="Mixed_7c")
