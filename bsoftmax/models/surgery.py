"""How each kind of network is cut into trunk, neck and classifier, with the paper's surgery.

After the cut `classifier(neck(*trunk(x)))` computes what the network computed. The trunk returns (F, tokens): the
feature maps, and for transformers the class and register tokens that travel beside them (None elsewhere).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from .heads import MLP, FlatGrid, GlobalAveragePool


class Pieces(NamedTuple):
    """What a cut returns; `layer` names where F was taken."""

    trunk: nn.Module
    neck: nn.Module
    classifier: nn.Module
    layer: str


class Trunk(nn.Module):
    """A convolutional timm network without its head: x -> (F [B,N,P,Q], None)."""

    def __init__(self, net: nn.Module, channels_last: bool = False) -> None:
        super().__init__()
        self.net, self.channels_last = net, channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        F = self.net.forward_features(x)
        return (F.permute(0, 3, 1, 2) if self.channels_last else F), None


class TimmNeck(nn.Module):
    """What a timm network does between its last feature maps and its last linear layer."""

    def __init__(self, net: nn.Module, channels_last: bool, uniform: bool) -> None:
        super().__init__()
        self.net, self.channels_last, self.uniform = net, channels_last, uniform

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.net.forward_head(F.permute(0, 2, 3, 1) if self.channels_last else F, pre_logits=True)


class TokenTrunk(nn.Module):
    """A vision transformer up to where its head begins: x -> (patches [B,N,P,Q], the rest of what the head reads).

    With `norm` the patches are normalised and all tokens travel beside them unnormalised; without, only class and
    register tokens do.
    """

    def __init__(self, net: VisionTransformer, norm: nn.Module | None) -> None:
        super().__init__()
        self.net, self.norm = net, norm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        grid = self.net.patch_embed.dynamic_feat_size(x.shape[2:])
        x = self.net.forward_features(x)
        prefix = self.net.num_prefix_tokens
        patches = (x if self.norm is None else self.norm(x))[:, prefix:]
        return patches.transpose(1, 2).unflatten(2, grid), x[:, :prefix] if self.norm is None else x


class ClassTokenNeck(nn.Module):
    """The last block, norm and class token of a transformer, as a function of the patches its attention reads.

    After the last block patches no longer reach the class token, and before its norm they only do so up to scale
    (sum_i G_i F_i would be 0), so F is what `norm1` gives.
    """

    uniform = False

    def __init__(self, net: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.net, self.block = net, block

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        block, prefix = self.block, tokens.shape[1] - F.shape[2] * F.shape[3]
        read = torch.cat([block.norm1(tokens[:, :prefix]), F.flatten(2).transpose(1, 2)], dim=1)
        x = tokens + block.ls1(block.attn(read))
        x = x + block.ls2(block.mlp(block.norm2(x)))
        return self.net.forward_head(self.net.norm(x), pre_logits=True)


class PatchPoolNeck(nn.Module):
    """The pooling and norm of a transformer that reads its patches, not its class token."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.uniform = net, net.global_pool == "avg"

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        return self.net.forward_head(torch.cat([tokens, F.flatten(2).transpose(1, 2)], dim=1), pre_logits=True)


def generic(net: nn.Module) -> Pieces:
    """Any timm network: feature maps before its head, whatever the head does before its last linear layer, and that.

    Raises ValueError for networks whose features are not maps or whose logits are not made by one linear layer.
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
    neck = _timm_neck(net, F.detach(), channels_last, below=_feeding(net, F))
    return Pieces(Trunk(net, channels_last), neck, classifier, "forward_features")


def _name(net: nn.Module) -> str:
    return net.pretrained_cfg.get("architecture", type(net).__name__)


def _probe_size(net: nn.Module) -> tuple[int, int]:
    cfg = net.pretrained_cfg
    return cfg["input_size"][1:] if cfg.get("fixed_input_size") else (96, 96)


def _timm_neck(net: nn.Module, F: Tensor, channels_last: bool, below: set[str]) -> nn.Module:
    """GlobalAveragePool where the network pools exactly so, else its own layers, taken out of the trunk."""
    F = torch.rand_like(F).requires_grad_()
    h = net.forward_head(F, pre_logits=True)
    (G,) = torch.autograd.grad((h * torch.randn_like(h)).sum(), F, retain_graph=True)
    maps, G = (F.permute(0, 3, 1, 2), G.permute(0, 3, 1, 2)) if channels_last else (F, G)
    above = _feeding(net, h) - below
    if not above and h.shape[1] == maps.shape[1] and torch.allclose(h, maps.mean((2, 3)), atol=1e-5):
        return GlobalAveragePool()
    shell = copy.copy(net)
    shell._modules = {k: m for k, m in net._modules.items() if k in above or m is None or not list(m.parameters())}
    for child in above:
        net._modules[child] = nn.Identity()
    # A head that pools first gives every position the same gradient, whatever follows (ConvNeXt's LayerNorm).
    uniform = bool(torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6))
    return TimmNeck(shell, channels_last, uniform)


def _feeding(net: nn.Module, out: Tensor) -> set[str]:
    """Names of the children whose parameters `out` depends on."""
    named = [(name.split(".")[0], p) for name, p in net.named_parameters()]
    if not out.requires_grad:
        return set()
    grads = torch.autograd.grad(out.sum(), [p for _, p in named], retain_graph=True, allow_unused=True)
    return {child for (child, _), grad in zip(named, grads) if grad is not None}


def transformer(net: VisionTransformer) -> Pieces:
    """A vision transformer, cut where its logits still depend on every patch.

    Raises ValueError for class-token networks whose last block is not timm's plain one.
    """
    classifier, block = net.head, net.blocks[-1]
    shell = copy.copy(net)
    shell._parameters = {}
    keep = ("norm", "fc_norm", "head_drop", "attn_pool")
    shell._modules = {k: m for k, m in net._modules.items() if k in keep}
    if net.global_pool != "token":
        net.fc_norm, net.attn_pool, net.head = nn.Identity(), None, nn.Identity()
        shell.norm = nn.Identity()
        shell.head = nn.Identity()
        return Pieces(TokenTrunk(net, None), PatchPoolNeck(shell), classifier, "norm")
    if type(block) is not Block:
        raise ValueError(
            f"{_name(net)} ends in a {type(block).__name__}, not a plain transformer block: choose another trunk."
        )
    layer = f"blocks.{len(net.blocks) - 1}.norm1"
    net.blocks = net.blocks[:-1]
    net.norm, net.fc_norm, net.head = nn.Identity(), nn.Identity(), nn.Identity()
    shell.head = nn.Identity()
    return Pieces(TokenTrunk(net, copy.deepcopy(block.norm1)), ClassTokenNeck(shell, block), classifier, layer)


def resnet50(net: nn.Module) -> Pieces:
    """ResNet-50 with layer4 at stride 1, undilated: 2048x14x14 at 224 px, GAP + linear."""
    net.layer4[0].conv2.stride = (1, 1)
    net.layer4[0].downsample[0].stride = (1, 1)
    return generic(net)._replace(layer="layer4")


def vgg16(net: nn.Module) -> Pieces:
    """VGG-16 without its last pool (512x14x14); its MLP stays, behind AdaptiveAvgPool(7)."""
    classifier = MLP(512 * 49, net.pre_logits.fc1.out_channels, net.head.fc.out_features)
    for linear, source in zip((classifier[0], classifier[3]), (net.pre_logits.fc1, net.pre_logits.fc2)):
        linear.weight, linear.bias = nn.Parameter(source.weight.flatten(1)), source.bias
    classifier[6].weight, classifier[6].bias = net.head.fc.weight, net.head.fc.bias
    return Pieces(Features(net.features[:-1]), FlatGrid(7), classifier, "features[-2]")


def vgg16_cam(net: nn.Module) -> Pieces:
    """VGG-16 without its last pool, then conv6 3x3 512 -> 1024, ReLU, GAP + linear: conv6 and the linear are fresh."""
    conv6 = nn.Conv2d(512, 1024, 3, padding=1)
    nn.init.kaiming_normal_(conv6.weight, nonlinearity="relu")
    nn.init.zeros_(conv6.bias)
    layers = nn.Sequential(*net.features[:-1], conv6, nn.ReLU())
    return Pieces(Features(layers), GlobalAveragePool(), nn.Linear(1024, net.num_classes), "conv6")


class Features(nn.Module):
    """A plain stack of layers as a trunk."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.net(x), None


class FlatReduction(nn.Module):
    """Inception's reduction block at stride 1: the same branches, the pooled one at the same resolution."""

    def __init__(self, block: nn.Module, branches: tuple[tuple[str, ...], tuple[str, ...]], pool_first: bool) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(*(getattr(block, name) for name in names)) for names in branches)
        self.pool_first = pool_first
        for sequence in (self.left, self.right):
            sequence[-1].conv.stride, sequence[-1].conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_first:
            x = nnf.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        return torch.cat([self.left(x), self.right(x), nnf.max_pool2d(x, 3, stride=1, padding=1)], 1)


def inception_v3(net: nn.Module) -> Pieces:
    """Inception-v3 kept at 14x14 to its end: Mixed_6a at stride 1 behind a pool, Mixed_7a at stride 1; GAP + linear."""
    net.Conv2d_1a_3x3.conv.padding = (1, 1)
    net.Pool1.ceil_mode = net.Pool2.ceil_mode = True
    six = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
    net.Mixed_6a = FlatReduction(net.Mixed_6a, six, pool_first=True)
    seven = (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
    net.Mixed_7a = FlatReduction(net.Mixed_7a, seven, pool_first=False)
    return generic(net)._replace(layer="Mixed_7c")
