"""RISE: the mean of random masks, each weighted by what the network answers under it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor

from . import view
from .view import Evidence, Tick

MASKS = 1000  # for each image; the paper has 4000 to 8000, which takes minutes on a CPU
CELLS = 7  # of a mask along a side
KEEP = 0.5  # the share of cells that are kept
SEED = 0


@dataclass(frozen=True)
class RandomMasks:
    """Masks of RISE (Petsiuk et al. 2018): `cells` x `cells` cells, each 1 with probability `keep`, else 0.

    Upsampled bilinearly to (cells + 1) times a cell's pixels and cropped there at a random place. Masks depend on their
    number and `seed` alone: every image, class and head sees the same.
    """

    count: int
    cells: int = CELLS
    keep: float = KEEP
    seed: int = SEED
    device: str = "cpu"

    @property
    def key(self) -> str:
        """The name of what `View` keeps."""
        return "rise"

    def part(self, b: int, start: int, size: tuple[int, int]) -> Tensor:
        """The masks from number `start` on, at most CHUNK, for any image: [n,1,H,W]."""
        return torch.stack([self.mask(n, size) for n in range(start, min(start + view.CHUNK, self.count))])

    def mask(self, n: int, size: tuple[int, int]) -> Tensor:
        """Mask number n: [1,H,W]."""
        generator = torch.Generator().manual_seed(self.seed * 2**20 + n)
        grid = (torch.rand(self.cells, self.cells, generator=generator) < self.keep).float()
        height, width = (-(-side // self.cells) for side in size)  # of a cell, rounded up as in their code
        whole = ((self.cells + 1) * height, (self.cells + 1) * width)
        fine = nnf.interpolate(grid[None, None], whole, mode="bilinear", align_corners=False)[0]
        y, x = (int(torch.randint(0, cell, (), generator=generator)) for cell in (height, width))
        return fine[:, y : y + size[0], x : x + size[1]].to(self.device)

    def to(self, device: str) -> RandomMasks:
        """The same on a device."""
        return RandomMasks(self.count, self.cells, self.keep, self.seed, device)


def rise(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """S = sum_i f(x * M_i) M_i / sum_i M_i, the mean of f where a place is visible (Petsiuk et al. 2018): [B,H,W].

    f is the head's confidence, a softmax probability or a sigmoid, as in the paper: equal for softmax, log-odds and
    centred rows. The paper divides by n E[M], which sum_i M_i is for many masks; of few, some places see more than
    others, and of a head that is sure of most the map would show that alone.
    """
    masks = RandomMasks(MASKS, device=str(evidence.view.x.device))
    f = evidence.masked_confidences(masks, tick)
    key = ("rise", evidence.source.branch, *evidence.k.tolist())
    return evidence.view.remember(key, lambda: _mean(evidence, masks, f)) if evidence.own else _mean(evidence, masks, f)


def _mean(evidence: Evidence, masks: RandomMasks, f: Tensor) -> Tensor:
    x = evidence.view.x
    size = (x.shape[2], x.shape[3])
    total, shown = (torch.zeros(n, *size, dtype=f.dtype, device=f.device) for n in (len(x), 1))
    for start in range(0, masks.count, view.CHUNK):
        part = masks.part(0, start, size)[:, 0].to(f)
        total += torch.einsum("bn,nhw->bhw", f[:, start : start + len(part)], part)
        shown += part.sum(0)
    return total / shown.clamp(min=1e-12)
