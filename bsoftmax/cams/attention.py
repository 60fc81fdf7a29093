"""Attention rollout and TS-CAM: maps of the attention of vision transformers that read a class token.

Both need what happens inside the blocks, so that the trunk runs once more; what they read is kept in the view for all
heads and classes. The blocks are called as they are, and their attention is computed again from their inputs.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..models.dual_branch import DualBranch
from ..models.token_surgery import ClassTokenNeck, TokenTrunk
from .view import Evidence, Tick, View

KEPT = "attention"  # the name of what a view keeps


class _Watched(nn.Module):
    """A block that appends the attention of its input to a list."""

    def __init__(self, block: Any, seen: list[Tensor]) -> None:
        super().__init__()
        self.block, self.seen = block, seen

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(attention(self.block.attn, self.block.norm1(x)))
        return cast(Tensor, self.block(x))


def attention(layer: Attention, x: Tensor) -> Tensor:
    """A = mean over heads of softmax(q k^T / sqrt(d)) of normalised tokens x [B,T,N]: [B,T,T], whose rows sum to 1."""
    q, k, _ = layer.qkv(x).unflatten(2, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = layer.q_norm(q), layer.k_norm(k)
    A: Tensor = (q * layer.scale @ k.transpose(2, 3)).softmax(3).mean(1)
    return A


def unsuited(model: DualBranch) -> str | None:
    """Why a model's attention cannot be read, in one sentence, or None."""
    trunk, neck = _trunk(model), model.neck
    if trunk is not None and type(neck) is ClassTokenNeck:
        blocks = [*cast(Any, trunk.net).blocks, cast(Any, neck.block)]
        if all(type(block) is Block and type(block.attn) is Attention for block in blocks):
            return None
    return "{method} needs a vision transformer that reads a class token by plain attention, which this model is not."


def _trunk(model: DualBranch) -> TokenTrunk | None:
    """The trunk itself, which evaluation wraps."""
    return next((m for m in model.trunk.modules() if isinstance(m, TokenTrunk)), None)


@torch.no_grad()
def walk(view: View) -> tuple[list[Tensor], Tensor]:
    """The attention [B,T,T] of every block, and the tokens [B,T,N] behind the last: one pass of the trunk."""
    trunk, block = cast(TokenTrunk, _trunk(view.model)), cast(Any, view.model.neck).block
    seen: list[Tensor] = []
    net = copy.copy(trunk.net)
    watched = nn.Sequential(*(_Watched(inner, seen) for inner in cast(Any, net).blocks))
    net._modules = {**net._modules, "blocks": watched}  # of the copy alone
    x = net.forward_features(view.x.to(next(net.parameters()).dtype))
    normed = block.norm1(torch.cat([cast(Tensor, view.tokens), view.F.flatten(2).transpose(1, 2)], 1))
    seen.append(attention(block.attn, normed))
    x = x + block.drop_path1(block.ls1(block.attn(normed)))
    return seen, x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def rolled(attentions: list[Tensor]) -> Tensor:
    """R_L with R_l = (A_l + I)/2 R_(l-1) and R_0 = I, the residual connection as half of each layer: [B,T,T]."""
    identity = torch.eye(attentions[0].shape[2]).to(attentions[0])
    R = identity.expand_as(attentions[0])
    for A in attentions:
        R = (A + identity) / 2 @ R
    return R


def _read(view: View, tick: Tick | None) -> None:
    """Lets the view keep the class token's rows of both maps, and the patches as the head would read them."""
    if view.has(KEPT):
        return
    attentions, tokens = walk(view)
    prefix, shape = cast(Tensor, view.tokens).shape[1], view.F.shape[2:]
    rows = {"rollout": rolled(attentions), "mean attention": torch.stack(attentions).mean(0)}
    for name, A in rows.items():
        view.put(name, A[:, 0, prefix:].unflatten(1, shape))
    view.put("patches", _as_read(view, tokens[:, prefix:]))
    view.put(KEPT, torch.ones(()))
    if tick:
        tick(1, 1)


@torch.no_grad()
def _as_read(view: View, patches: Tensor) -> Tensor:
    """h of every patch [B,PQ,N_pen], as the neck makes it of the class token."""
    neck = cast(ClassTokenNeck, view.model.neck)
    x = neck.net.get_submodule("norm")(patches)
    if neck.read > 1:  # the heads of the class and the distillation token both read the patch
        return cast(Tensor, x.repeat(1, 1, neck.read))
    h = neck.net.forward_head(x.flatten(0, 1)[:, None], pre_logits=True)
    return cast(Tensor, h.unflatten(0, x.shape[:2]))


def rollout(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = the class token's row of R_L at the patches (Abnar and Zuidema 2020, Eq. 1): [B,P,Q]; see `rolled`."""
    _read(evidence.view, tick)
    return evidence.view.kept("rollout")


@torch.no_grad()
def tscam(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S^(p,q) = a^(p,q) s_k^(p,q) (Gao et al. 2021): [B,P,Q].

    a: attention of the class token to the patch, the mean over heads and blocks. s_k: the score of the patch, read by
    the head as if it were the class token; the paper trains a convolution for it, which a frozen network does not have.
    """
    view = evidence.view
    _read(view, tick)
    h = view.kept("patches")
    s = torch.stack([evidence.of_vectors(rows, k.expand(len(rows))) for rows, k in zip(h, evidence.k)])
    return cast(Tensor, view.kept("mean attention") * s.unflatten(1, view.F.shape[2:]))
