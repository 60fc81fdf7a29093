"""Heads at their optimum: no lower objective anywhere near, the same one as scipy's, and no SGD that ends below it."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
import torch
from scipy.optimize import minimize
from torch import nn
from toys import N

from bsoftmax.models.gauge import Gauge
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training import fitting, gauge, solver
from bsoftmax.training.loop import BranchConfig
from bsoftmax.training.solver import Optimiser, choose_penalty, minimise, solvable, stacked
from bsoftmax.training.vectors import Vectors

LOSSES = {"sigmoid": balanced_bce, "softmax": nn.functional.cross_entropy}
C, n = 3, 60
CPU = torch.device("cpu")


@pytest.fixture
def clouds():
    """Three clouds that overlap, in two views: h [2,60,N], labels [60]."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % C
    centres = torch.eye(N)[:C]
    return Vectors.of(centres[labels] + torch.randn(2, n, N, generator=generator), labels)


def slow_objective(theta, h, labels, loss, penalty, origin):
    """The objective of the solver, image by image: theta holds W [C,N] and b [C]."""
    W, b = theta[: C * N].reshape(C, N), theta[C * N :]
    total = 0.0
    for x, y in zip(h, labels):
        z = [float(W[k] @ x + b[k]) for k in range(C)]
        if loss == "sigmoid":
            total += ref.branch_loss(np.array([z]), np.array([int(y)]))
        else:
            total += -np.log(np.exp(z[y]) / sum(np.exp(z)))
    return total / len(h) + penalty / 2 * float(((theta - origin) ** 2).sum())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("pulled", [False, True])
def test_the_minimum_is_scipys(loss, pulled, clouds):
    h, labels = stacked(clouds, clouds.good[:9], CPU)
    W, b = torch.zeros(C, N), torch.zeros(C)
    start = [0.3 * torch.ones(C, N), 0.1 * torch.ones(C)] if pulled else None
    last = list(minimise([W, b], lambda: h @ W.T + b, labels, LOSSES[loss], 0.01, start))[-1]
    theta = torch.cat([W.detach().flatten(), b.detach()]).double().numpy()
    origin = torch.cat([p.flatten() for p in start]).double().numpy() if pulled else np.zeros_like(theta)
    told = (h.double().numpy(), labels.numpy(), loss, 0.01, origin)
    other = minimize(slow_objective, np.zeros_like(theta), told, method="BFGS", options={"gtol": 1e-5})
    assert slow_objective(theta, *told) == pytest.approx(other.fun, rel=1e-5)
    assert last.objective == pytest.approx(other.fun, rel=1e-5)
    assert last.converged
    assert last.gradient < 1e-3
    np.testing.assert_allclose(theta, other.x, atol=0.02)


@pytest.mark.parametrize("loss", LOSSES)
def test_sgd_ends_above_the_optimum(loss, clouds):
    h, labels = stacked(clouds, clouds.good, CPU)
    W, b = torch.zeros(C, N), torch.zeros(C)
    best = list(minimise([W, b], lambda: h @ W.T + b, labels, LOSSES[loss], 5e-4))[-1].objective
    head = nn.Linear(N, C)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    list(fitting.fit(head, clouds, BranchConfig(epochs=30, batch=16, lr=0.5, weight_decay=5e-4), loss))
    with torch.no_grad():
        size = sum(p.square().sum() for p in head.parameters())
        found = float(LOSSES[loss](head(h), labels) + 5e-4 / 2 * size)
    assert best < found


def test_both_views_of_an_image_count_alike(clouds):
    h, labels = stacked(clouds, clouds.good[:4], CPU)
    assert h.shape == (8, N)
    assert labels.tolist() == [0, 1, 2, 0, 0, 1, 2, 0]
    torch.testing.assert_close(h[4:], clouds.take(clouds.good[:4], 1))


def test_what_is_not_a_number_is_said():
    h = torch.full((4, N), float("inf"))
    W = torch.zeros(C, N)
    with pytest.raises(ValueError, match="too large"):
        list(minimise([W], lambda: h @ W.T, torch.tensor([0, 1, 2, 0]), balanced_bce, 0.1))


def test_the_penalty_is_chosen_on_images_held_out(clouds):
    """Labels that the features say nothing of ask for the strongest penalty, clear ones for a weaker one."""
    generator = torch.Generator().manual_seed(1)
    noise = Vectors.of(torch.randn(1, n, N, generator=generator), torch.arange(n) % C)
    clear = Vectors.of(8 * torch.eye(N)[:C][torch.arange(n) % C][None] + 0.1, torch.arange(n) % C)
    chosen = [choose_penalty(nn.Linear(N, C), v, balanced_bce, seed=0) for v in (noise, clear)]
    assert chosen[0] > chosen[1]
    assert chosen == [choose_penalty(nn.Linear(N, C), v, balanced_bce, seed=0) for v in (noise, clear)]


def test_only_one_linear_layer_whose_set_fits_is_solved(clouds, monkeypatch):
    assert solvable(nn.Linear(N, C), clouds)
    assert not solvable(nn.Sequential(nn.Linear(N, C)), clouds)
    monkeypatch.setattr("bsoftmax.training.solver.WORK", 10)
    assert not solvable(nn.Linear(N, C), clouds)


@pytest.mark.parametrize("fit", ["penalty", "optimum", "gauge", "rows"])
def test_vectors_and_labels_follow_the_head_to_its_device(fit, clouds, monkeypatch):
    """On "meta", which computes shapes and refuses a loss of tensors from two devices."""
    devices = set()

    def looked_at(parameters, logits, labels, loss, penalty, pulled=None):
        data = loss(z := logits(), labels)
        devices.update(t.device.type for t in (*parameters, *(pulled or ()), z, labels, data))
        return iter(())

    def taken(vectors, places, device):
        h, labels = stacked(vectors, places, device)
        devices.update((h.device.type, labels.device.type))
        return h, labels

    head = nn.Linear(N, C, device="meta")
    for module in (solver, gauge):
        monkeypatch.setattr(module, "minimise", looked_at)
        monkeypatch.setattr(module, "stacked", taken)
    if fit == "penalty":
        with pytest.raises(RuntimeError, match="item"):  # the loss on images held out, computed and then asked for
            choose_penalty(head, clouds, LOSSES["softmax"], 0)
    elif fit == "optimum":
        monkeypatch.setattr(solver, "choose_penalty", lambda *_: 0.1)
        list(Optimiser(head, clouds, "softmax", None, 0)(lambda: False))
    elif fit == "gauge":
        list(gauge.fit_gauge(head, clouds, Gauge.identity(head)))
    else:
        list(gauge.fit_rows(head, clouds, Gauge.identity(head)))
    assert devices == {"meta"}
