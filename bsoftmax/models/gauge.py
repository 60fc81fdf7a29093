"""A sigmoid branch as few numbers: the softmax head's rows, scaled and moved by what softmax cannot see.

Softmax determines its logits z up to a number common to all classes. The gauge makes the branch's logits of them,

    z' = a z + (h . d + c) 1,      W' = a W + 1 d^T + U V,      b' = a b + c 1,

with one scale a, one vector d [N_pen] and one number c for all classes; U [C,r] V [r,N_pen] is what training all rows
added, cut to rank r (r may be 0). Not of the paper, which trains all rows: docs/branches.md compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NAMES = ("scale", "direction", "offset", "left", "right")


@dataclass
class Gauge:
    """a, d [N_pen], c, U [C,r] and V [r,N_pen] of the equation above."""

    scale: Tensor
    direction: Tensor
    offset: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def identity(cls, head: nn.Linear) -> Gauge:
        """a = 1 and nothing added: the softmax head's own rows, on its device."""
        C, N = head.weight.shape
        parts = (torch.ones(()), torch.zeros(N), torch.zeros(()), torch.zeros(C, 0), torch.zeros(0, N))
        return cls(*(part.to(head.weight.device) for part in parts))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Gauge:
        """What `tensors` gave, in single precision. Raises KeyError when one is missing."""
        return cls(*(tensors[name].float() for name in NAMES))

    def tensors(self) -> dict[str, Tensor]:
        """Its parts by name, U and V in half precision; on the CPU."""
        parts = {name: getattr(self, name).detach().cpu() for name in NAMES}
        return parts | {name: parts[name].half() for name in ("left", "right")}

    @torch.no_grad()
    def applied(self, head: nn.Linear) -> nn.Linear:
        """The branch: a new linear layer with the rows and biases of the equation, on the head's device.

        Raises ValueError where the parts do not fit the head.
        """
        C, N = head.weight.shape
        r = self.left.shape[-1]
        shapes = [tuple(getattr(self, name).shape) for name in NAMES]
        if shapes != [(), (N,), (), (C, r), (r, N)]:
            raise ValueError(f"The branch's numbers have the shapes {shapes}, which do not fit a head of {C} x {N}.")
        a, d, c, U, V = (getattr(self, name).to(head.weight.device) for name in NAMES)
        branch = nn.Linear(N, C, device=head.weight.device)
        branch.weight.copy_(a * head.weight + d + U @ V)
        branch.bias.copy_(a * head.bias + c)
        return branch
