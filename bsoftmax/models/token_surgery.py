"""Splits networks of tokens: the patches become F, the class, register and distillation tokens are kept aside.

Two rules. A network that pools its patches is split before its pooling. One that reads a class token is split where
that token reads the patches last, behind the first norm of its last block: after that block the token no longer
depends on the patches, and before the norm F counts only up to scale (sum_i G_i F_i would be 0).
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from .heads import Pieces, TimmNet, name_of

# Where the last block lies in timm's transformers; those that only a class token passes come first.
CONTAINERS = ("blocks_token_only", "cls_attn_blocks", "blocks")
HEAD = ("norm", "fc_norm", "head_drop", "attn_pool")  # timm's names of the layers behind the blocks


class TokenTrunk(nn.Module):
    """A transformer without its head: x -> (patches [B,N,P,Q], the other tokens [B,T,N]); `norm`: of the patches."""

    def __init__(self, net: TimmNet, norm: nn.Module | None, prefix: int) -> None:
        super().__init__()
        self.net, self.norm, self.prefix = net, norm, prefix

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens = self.net.forward_features(x)
        patches: Tensor = (tokens if self.norm is None else self.norm(tokens))[:, self.prefix :]
        P, Q = grid_of(patches.shape[1], x.shape[2], x.shape[3])
        return patches.transpose(1, 2).unflatten(2, (P, Q)), tokens[:, : self.prefix] if self.prefix else None


def grid_of(patches: int, height: int, width: int) -> tuple[int, int]:
    """P, Q with PQ = `patches` and P / Q = height / width. Raises ValueError where there are none."""
    P = round((patches * height / width) ** 0.5)
    if P < 1 or patches < 2 or patches % P:
        raise ValueError(f"{patches} patches of a {height}x{width} image form no grid: choose another trunk.")
    return P, patches // P


def _tokens(F: Tensor, others: Tensor | None) -> Tensor:
    patches = F.flatten(2).transpose(1, 2)
    return patches if others is None else torch.cat([others, patches], dim=1)


class PrefixNorm(nn.Module):
    """A norm, under its own parameters' names, of the first `prefix` tokens alone: the rest are normalised already."""

    def __init__(self, norm: nn.Module, prefix: int) -> None:
        super().__init__()
        self.norm, self.prefix = [norm], prefix  # in a list, not a child: its parameters are this module's
        self._parameters = norm._parameters

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm[0](x[:, : self.prefix]), x[:, self.prefix :]], dim=1)


class ClassTokenNeck(nn.Module):
    """The last block, norm and class token of a transformer, as a function of the patches normalised by `norm1`.

    The block's outputs at the patches are of no meaning, and are not read.
    """

    uniform = False

    def __init__(self, net: TimmNet, block: nn.Module, read: int = 1) -> None:
        super().__init__()
        self.net, self.block, self.read = net, block, read

    def last(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """The last block's output: [B,T+PQ,N]."""
        return cast(Tensor, self.block(tokens))

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        x = self.last(_tokens(F, tokens), (F.shape[2], F.shape[3]))
        x = self.net.get_submodule("norm")(x)
        return x[:, : self.read].flatten(1) if self.read > 1 else self.net.forward_head(x, pre_logits=True)


class RotaryNeck(ClassTokenNeck):
    """The same, where the block turns queries and keys by their position (EVA)."""

    def __init__(self, net: TimmNet, block: nn.Module, rope: nn.Module, mixed: bool) -> None:
        super().__init__(net, block)
        self.rope, self.mixed = rope, mixed

    def last(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """As in ClassTokenNeck."""
        rope = cast(Any, self.rope).get_embed(shape=list(grid))
        return cast(Tensor, self.block(tokens, rope=rope[-1] if self.mixed else rope))


class ClassAttentionNeck(ClassTokenNeck):
    """The same, where the class token is an input of the block by itself (CaiT)."""

    def last(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """As in ClassTokenNeck."""
        return cast(Tensor, self.block(tokens[:, 1:], tokens[:, :1]))


class Given(nn.Module):
    """Its first argument: stands for a layer that ran before."""

    def forward(self, x: Tensor, *_: object, **more: object) -> Tensor:
        return x


class Encoded(nn.Module):
    """A block's position encoding alone, which comes before its first norm (CoaT)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.cpe = block.get_submodule("cpe")

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        encoded: Tensor = self.cpe(x, size)
        return encoded


class ConvAttentionNeck(ClassTokenNeck):
    """The same, where the block convolves its grid (CoaT)."""

    def last(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """As in ClassTokenNeck."""
        return cast(Tensor, self.block(tokens, size=grid))

    def forward(self, F: Tensor, tokens: Tensor) -> Tensor:
        x = self.last(_tokens(F, tokens), (F.shape[2], F.shape[3]))
        return self.net.forward_head(self.net.get_submodule("norm4")(x), pre_logits=True)


class PatchPoolNeck(nn.Module):
    """The pooling and norm of a transformer that pools its patches."""

    def __init__(self, net: TimmNet, uniform: bool) -> None:
        super().__init__()
        self.net, self.uniform = net, uniform

    def forward(self, F: Tensor, tokens: Tensor | None = None) -> Tensor:
        return self.net.forward_head(_tokens(F, tokens), pre_logits=True)


def tokens(net: TimmNet, classifier: nn.Linear) -> Pieces:
    """Splits a network of tokens. Raises ValueError where it reads a class token in a way that has no cut."""
    head = copy.copy(net)
    head._parameters = {}
    head._modules = {name: module for name, module in net._modules.items() if name in HEAD}
    head.head = head.head_dist = nn.Identity()
    return _class_token(net, head, classifier) if net.global_pool == "token" else _pooled(net, head, classifier)


def _pooled(net: TimmNet, head: TimmNet, classifier: nn.Linear) -> Pieces:
    for name in set(HEAD) & net._modules.keys() - {"norm"}:
        setattr(net, name, None if name == "attn_pool" else nn.Identity())  # as in timm without attention pooling
    net.head = net.head_dist = nn.Identity()
    if "norm" in head._modules:
        head.norm = nn.Identity()
    trunk = TokenTrunk(net, None, getattr(net, "num_prefix_tokens", 0))
    return Pieces(trunk, PatchPoolNeck(head, net.global_pool == "avg"), classifier, "norm")


def _class_token(net: TimmNet, head: TimmNet, classifier: nn.Linear) -> Pieces:
    container = next((name for name in CONTAINERS if getattr(net, name, None)), None)
    block = None if container is None else cast(nn.Sequential, getattr(net, container))[-1]
    if reason := _no_cut(net, block):
        raise ValueError(f"{name_of(net)} {reason}: choose another trunk.")
    blocks, block = cast(nn.Sequential, getattr(net, str(container))), cast(nn.Module, block)
    prefix, norm = int(cast(int, net.num_prefix_tokens)), cast(nn.Module, block.norm1)
    setattr(net, str(container), blocks[:-1])
    for name in {"norm", "fc_norm"} & net._modules.keys():
        setattr(net, name, nn.Identity())
    net.head = net.head_dist = nn.Identity()
    patch_norm, block.norm1 = copy.deepcopy(norm), PrefixNorm(norm, prefix)
    neck = _neck(net, head, block, str(container))
    layer = f"{container}.{len(blocks) - 1}.norm1"
    return Pieces(TokenTrunk(net, patch_norm, prefix), neck, classifier, layer)


def conv_attention(net: TimmNet, classifier: nn.Linear) -> Pieces:
    """Splits CoaT with one grid where its class token reads the patches last. Its parts share their convolutions."""
    head, blocks = copy.copy(net), cast(nn.ModuleList, net.serial_blocks4)
    head._parameters, head._modules = {}, {name: net.get_submodule(name) for name in ("norm4", "head_drop")}
    head.head = nn.Identity()
    block = copy.deepcopy(blocks[-1])
    norm, blocks[-1] = cast(nn.Module, block.norm1), Encoded(blocks[-1])
    block.cpe, block.norm1 = Given(), PrefixNorm(copy.deepcopy(norm), 1)
    net.norm4, net.head = nn.Identity(), nn.Identity()
    layer = f"serial_blocks4.{len(blocks) - 1}.norm1"
    return Pieces(TokenTrunk(net, norm, 1), ConvAttentionNeck(head, block), classifier, layer)


def _no_cut(net: TimmNet, block: nn.Module | None) -> str | None:
    """Why a network that reads a class token cannot be split, or None."""
    if block is None:
        return "reads a class token, and has no list of blocks whose last could be split off"
    if not isinstance(getattr(block, "norm1", None), nn.Module) or "Post" in type(block).__name__:
        return f"ends in a {type(block).__name__}, which has no norm before its tokens are read"
    if any(getattr(net, name, None) is not None for name in ("rel_pos_bias", "shared_rel_pos")):
        return "shares one table of relative positions between its blocks, so that the last cannot stand alone"
    return None


def _neck(net: TimmNet, head: TimmNet, block: nn.Module, container: str) -> ClassTokenNeck:
    if container == "blocks_token_only":
        return ClassAttentionNeck(head, block)
    if isinstance(rope := getattr(net, "rope", None), nn.Module):
        return RotaryNeck(head, block, copy.deepcopy(rope), bool(getattr(net, "rope_mixed", False)))
    return ClassTokenNeck(head, block, 2 if isinstance(net, VisionTransformerDistilled) else 1)
