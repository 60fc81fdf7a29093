"""The directions in which a softmax head is moved: unit vectors in the space of its rows, one registry.

A shift of size t along u adds d = t r u to the row of every class, r the root mean square of the rows' norms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..cams.distortions import Shift, shifted
from ..cams.methods import class_map
from ..cams.view import View
from ..models.dual_branch import DualBranch
from ..models.heads import is_gap_linear, last_linear
from ..utils.text import quoted

SIZES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
SEARCHED = 32  # images on which the worst direction is searched
AT_SIZE = 0.5  # and the size of the shift there
STEPS, RATE = 40, 0.05  # of the search's gradient descent
LARGEST = 1000.0  # row norms: nothing is left to see long before


@dataclass(frozen=True, eq=False)
class Sample:
    """What directions are chosen from: a model, a view of some images, the class of each, and a CAM method."""

    model: DualBranch
    view: View
    k: Tensor
    method: str
    rng: np.random.Generator

    @cached_property
    def rows(self) -> Tensor:
        """The softmax head's rows [C,N_pen]."""
        return last_linear(self.model.softmax).weight.detach().float().cpu()

    @property
    def norm(self) -> float:
        """r, the root mean square of the rows' norms."""
        return float(self.rows.square().sum(1).mean().sqrt())

    def unit(self, vector: Tensor) -> list[Tensor]:
        """The vector over its norm, as a list; none where it is 0."""
        size = vector.norm()
        return [vector / size] if size > 1e-6 * self.norm else []

    def agreement(self, u: Tensor, size: float = AT_SIZE) -> float:
        """Mean over images of the correlation of the map with that after a shift along u."""
        before = class_map(self.view.evidence("softmax", self.k), self.method, False)
        moved = shifted(self.model.softmax, (size * self.norm * u).to(self.view.F.device))
        after = class_map(self.view.evidence("softmax", self.k, moved), self.method, False)
        return float(correlation(before, after).mean())


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of maps [B,P,Q] over positions: [B], 0 where one is constant."""
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    found: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)
    return found


def class_mean(sample: Sample) -> list[Tensor]:
    """u = w_mean/|w_mean|, the mean of the rows over classes."""
    return sample.unit(sample.rows.mean(0))


def uniform(sample: Sample) -> list[Tensor]:
    """u = -1/sqrt(N) for every channel (Eq. 10)."""
    return sample.unit(-torch.ones(sample.rows.shape[1]))


def random(sample: Sample, draws: int = 3) -> list[Tensor]:
    """Unit vectors drawn from the sphere."""
    drawn = sample.rng.standard_normal((draws, sample.rows.shape[1]))
    return [u for row in torch.from_numpy(drawn).float() for u in sample.unit(row)]


def adversarial(sample: Sample) -> list[Tensor]:
    """u that lowers the mean correlation of maps before and after most; no box and no label of a place is looked at.

    The best of a few candidates; where the head is average pooling and one linear layer, gradient descent from it.
    """
    worst = min(_candidates(sample), key=sample.agreement)
    return [_descend(sample, worst) if is_gap_linear(sample.model.neck, sample.model.softmax) else worst]


def _candidates(sample: Sample) -> list[Tensor]:
    h, N = sample.view.h.float().cpu(), sample.rows.shape[1]
    found = [torch.ones(N), sample.rows.mean(0)]
    if h.shape[1] == N:  # else the head has layers before its last, whose inputs are not at hand
        found += [h.mean(0), *torch.pca_lowrank(h, q=min(3, *h.shape))[2].T]
    both = [sign * vector for vector in found for sign in (1, -1)]
    return [u for vector in [*both, *random(sample)] for u in sample.unit(vector)]


def _descend(sample: Sample, start: Tensor) -> Tensor:
    """Adam on mean correlation(S, S + t r sum_i u_i F_i), with |u| = 1."""
    F = sample.view.F.detach().float()
    S = torch.einsum("bn,bnpq->bpq", sample.rows.to(F)[sample.k.to(F.device)], F)
    u = start.to(F).clone().requires_grad_()
    optimiser = torch.optim.Adam([u], RATE * float(start.abs().mean()))
    with torch.enable_grad():
        for _ in range(STEPS):
            optimiser.zero_grad()
            moved = AT_SIZE * sample.norm * torch.einsum("n,bnpq->bpq", u / u.norm(), F)
            correlation(S, S + moved).mean().backward()
            optimiser.step()
    found: Tensor = (u / u.norm()).detach().cpu()
    return found


@dataclass(frozen=True)
class Direction:
    """A registry entry: what it is in one sentence, and its unit vectors; `masked`: whether fidelity is measured."""

    key: str
    title: str
    sentence: str
    vectors: Callable[[Sample], list[Tensor]]
    masked: bool = False
    bias: bool = False  # the shift is of the biases instead of the rows


DIRECTIONS: dict[str, Direction] = {
    d.key: d
    for d in (
        Direction("mean", "Class mean", "along the head's own class-mean row", class_mean, masked=True),
        Direction("random", "Random", "along three random directions, averaged", random),
        Direction("adversarial", "Worst", "along the direction that changes these maps most", adversarial, masked=True),
        Direction("bias", "Bias", "a number added to every bias, which no map sees", lambda sample: [], True, True),
        Direction("uniform", "Every channel", "minus the same number on every channel (Eq. 10)", uniform),
    )
}
DEFAULT = ("mean", "random", "adversarial", "bias")


def parse_sizes(text: str) -> tuple[float, ...]:
    """Sizes from "0,0.5,2" or, of the default ones, those in a range "0..2"; 0 is always among them.

    Raises ValueError for anything else, and for a size below 0 or above LARGEST.
    """
    try:
        if ".." in text:
            low, high = (float(part) for part in text.split(".."))
            sizes = {size for size in SIZES if low <= size <= high}
        else:
            sizes = {float(part) for part in text.split(",")}
    except ValueError:
        sizes = set()
    if not sizes or not all(0 <= size <= LARGEST for size in sizes) or sizes == {0.0}:
        raise ValueError(
            f"Expected sizes in row norms from 0 to {LARGEST:,.0f}, like 0..4 or 0,0.5,2, got {quoted(text)}: write "
            "others."
        )
    return tuple(sorted(sizes | {0.0}))


def shifts(sample: Sample, names: Sequence[str], sizes: Sequence[float]) -> dict[str, list[list[Shift]]]:
    """{direction: [the shifts of every size above 0, of each of its vectors]}; empty for a direction the head has not.

    Raises ValueError, naming the known ones, for an unknown direction.
    """
    if unknown := [name for name in names if name not in DIRECTIONS]:
        raise ValueError(f"There is no direction {quoted(unknown[0])}; choose among {', '.join(DIRECTIONS)}.")
    return {name: _shifts(sample, DIRECTIONS[name], [size for size in sizes if size]) for name in names}


def _shifts(sample: Sample, direction: Direction, sizes: Sequence[float]) -> list[list[Shift]]:
    r, nothing = sample.norm, torch.zeros(sample.rows.shape[1])
    if direction.bias:
        return [[Shift(f"{direction.key}@{size:g}", nothing, size * r, size) for size in sizes]]
    vectors = direction.vectors(sample)
    names = [direction.key] if len(vectors) == 1 else [f"{direction.key}.{n}" for n in range(len(vectors))]
    return [[Shift(f"{name}@{t:g}", t * r * u, radius=t) for t in sizes] for name, u in zip(names, vectors)]
