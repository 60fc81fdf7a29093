"""Channel weights that are no gradient: Eigen-CAM's, LIFT-CAM's by DeepLIFT's rule, Opti-CAM's by optimisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..models.dual_branch import DualBranch
from ..models.heads import FlatGrid, GlobalAveragePool
from .sources import Source
from .view import Evidence, Tick

POINTS = 32  # of Gauss and Legendre's rule
STEPS, RATE = 100, 0.1  # of Adam


def mean_gradient(source: Source, start: Tensor, end: Tensor, k: Tensor) -> Tensor:
    """m = integral over t of the score's gradient at start + t (end - start): logits [B,C], [B,C], [B] -> [B,C].

    sum_j m_j (end_j - start_j) is the score's difference; where the score is linear in the logits, m is its gradient.
    """
    nodes, weights = (torch.from_numpy(a).to(end) for a in np.polynomial.legendre.leggauss(POINTS))
    with torch.enable_grad():
        points = start.detach() + (nodes[:, None, None] + 1) / 2 * (end - start).detach()
        flat = points.flatten(0, 1).requires_grad_()
        (G,) = torch.autograd.grad(source.score(flat, k.repeat(POINTS)).sum(), flat)
    m: Tensor = (weights[:, None, None] / 2 * G.unflatten(0, points.shape[:2])).sum(0)
    return m


def eigencam(F: Tensor) -> Tensor:
    """alpha = first right singular vector of F as [PQ,N], channels centred (Muhammad and Yeasin 2020): [B,N,1,1].

    Of the two signs of a singular vector, the one with a positive correlation of map and total activation is chosen.
    """
    rows = F.flatten(2).transpose(1, 2)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)  # squares stay in range
    v = _first_singular(rows)
    correlation = torch.einsum("bpn,bn,bp->b", rows, v, rows.sum(2))
    return (v * torch.where(correlation < 0, -1.0, 1.0)[:, None])[:, :, None, None]


def _first_singular(rows: Tensor) -> Tensor:
    """The first right singular vector of each matrix, or zeros: [B,P,N] -> [B,N].

    From the eigenvector of the smaller of its two Gram matrices, in a sixth of the time of all singular vectors.
    """
    few = rows.shape[1] < rows.shape[2]
    gram = rows @ rows.mT if few else rows.mT @ rows
    top = torch.linalg.eigh(gram.cpu()).eigenvectors[:, :, -1].to(rows.device)  # MPS has no eigh
    return nnf.normalize(torch.einsum("bpn,bp->bn", rows, top) if few else top, dim=1)


def no_lift(model: DualBranch) -> str | None:
    """Why LIFT-CAM cannot be used with a model's head, in one sentence, or None."""
    known = all(isinstance(layer, (nn.Linear, nn.ReLU, nn.Dropout)) for layer in _layers(model.softmax))
    if isinstance(model.neck, (GlobalAveragePool, FlatGrid)) and known:
        return None
    return "{method} needs a head of average pooling, linear layers and ReLU, which this model's is not: use Grad-CAM."


def _layers(classifier: nn.Module) -> Iterator[nn.Module]:
    return iter(classifier) if isinstance(classifier, nn.Sequential) else iter([classifier])


def contributions(evidence: Evidence) -> Tensor:
    """c_i = sum_pq of what F_i^(p,q) adds to the score, by DeepLIFT's rescale rule from F = 0: [B,N].

    They add up to the score less that of F = 0 (Shrikumar et al. 2017); w_ik mean F_i where the head is GAP + linear.
    """
    F = evidence.F.detach().requires_grad_()
    with torch.enable_grad():
        z = evidence.view.model.neck(F, None)
        z0 = torch.zeros_like(z)
        for layer in _layers(evidence.classifier):
            z, z0 = _relu(z, z0) if isinstance(layer, nn.ReLU) else (layer(z), layer(z0))
        m = mean_gradient(evidence.source, z0, z, evidence.k)
        (multipliers,) = torch.autograd.grad((m * z).sum(), F)
    return (multipliers * F.detach()).sum((2, 3))


def _relu(z: Tensor, z0: Tensor) -> tuple[Tensor, Tensor]:
    """ReLU of both, with the slope between them as the first's gradient."""
    r, r0 = z.relu().detach(), z0.relu()
    slope = torch.where(z == z0, (z > 0).to(z), (r - r0) / torch.where(z == z0, 1.0, z - z0)).detach()
    return r + (z - z.detach()) * slope, r0


def liftcam(contributions: Tensor) -> Tensor:
    """alpha_i = c_i, what channel i adds to the score (Jung and Oh 2021): [B,N] -> [B,N,1,1]."""
    return contributions[:, :, None, None]


def opticam(evidence: Evidence, tick: Tick | None = None) -> Tensor:
    """alpha = softmax(u), u = argmax score(x * n(up(sum_i softmax(u)_i F_i))) (Zhang et al. 2024): [B,N,1,1].

    n: min-max; up: bilinear. STEPS steps of Adam from u = 0, for every class, source and head anew.
    """
    x, F = evidence.view.x, evidence.F
    u = torch.zeros(F.shape[:2], dtype=F.dtype, device=F.device, requires_grad=True)
    optimiser = torch.optim.Adam([u], lr=RATE)
    for step in range(STEPS):
        with torch.enable_grad():
            S = (u.softmax(1)[:, :, None, None] * F).sum(1, keepdim=True)
            mask = nnf.interpolate(S, x.shape[2:], mode="bilinear")
            low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            scores = evidence.of_images(x * ((mask - low) / (high - low).clamp(min=1e-12)), evidence.k)
            (u.grad,) = torch.autograd.grad(-scores.sum(), u)
        optimiser.step()
        if tick:
            tick(step + 1, STEPS)
    return u.detach().softmax(1)[:, :, None, None]
