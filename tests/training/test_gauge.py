"""The gauge: the equation itself, what softmax and log-odds make of it, and that a branch from it can tell absence."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toys import N, refusal, toy

from bsoftmax.cams import SOURCES, View, class_map
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training.gauge import Gauge, fit_gauge
from bsoftmax.training.solver import stacked
from bsoftmax.training.vectors import Vectors

C, n = 5, 60


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(N, C)


@pytest.fixture
def gauge():
    generator = torch.Generator().manual_seed(1)
    return Gauge(torch.tensor(1.7), torch.randn(N, generator=generator), torch.tensor(-2.0))


def test_rows_and_biases_are_those_of_the_equation(head, gauge):
    branch = gauge.applied(head)
    h = torch.randn(4, N)
    for x in h:
        z = head(x)
        for k in range(C):
            expected = 1.7 * z[k] + sum(gauge.direction[i] * x[i] for i in range(N)) - 2.0
            torch.testing.assert_close(branch(x)[k], expected)


def test_softmax_of_the_branch_is_that_of_the_head_sharpened(head, gauge):
    """z' is a z up to a number common to all classes, which softmax cannot see."""
    h = torch.randn(7, N)
    torch.testing.assert_close(gauge.applied(head)(h).softmax(1), (1.7 * head(h)).softmax(1))


def test_the_map_moves_by_one_map_common_to_all_classes(gauge):
    model = toy("gap", double=False)
    x = torch.randn(1, 3, 24, 24)
    model.sigmoid = gauge_branch = Gauge(gauge.scale, torch.randn(N), gauge.offset).applied(model.softmax)
    view = View(model, x)
    d = gauge_branch.weight[0] - 1.7 * model.softmax.weight[0]
    common = torch.einsum("n,npq->pq", d, view.F[0])
    for k in range(len(model.classes)):
        S = {s: class_map(view.evidence(s, k), "cam", clamp=False)[0] for s in SOURCES}
        torch.testing.assert_close(S["sigmoid"], 1.7 * S["softmax"] + common, rtol=1e-4, atol=1e-4)


def test_fitting_lowers_eq_12_and_ends_where_no_neighbour_is_lower(head):
    generator = torch.Generator().manual_seed(2)
    h = torch.randn(2, n, N, generator=generator)
    vectors = Vectors.of(h, head(h[0]).argmax(1))
    flat, labels = stacked(vectors, vectors.good)
    found = Gauge.identity(N, C)
    before = float(balanced_bce(found.applied(head)(flat), labels))
    last = list(fit_gauge(head, vectors, found))[-1]
    loss = lambda g: float(balanced_bce(g.applied(head)(flat), labels) + g.penalty())
    assert last.loss < before
    assert last.objective == pytest.approx(loss(found), rel=1e-5)
    for step in (0.03, -0.03):
        for part in ("scale", "direction", "offset"):
            moved = {name: getattr(found, name).detach() + step * (name == part) for name in vars(found)}
            assert loss(Gauge(**moved)) > last.objective - 1e-6


def test_a_head_of_several_layers_has_no_gauge():
    vectors = Vectors.of(torch.randn(1, 4, N), torch.tensor([0, 1, 2, 3]))
    head = nn.Sequential(nn.Linear(N, N), nn.ReLU(), nn.Linear(N, C))
    assert "several" in refusal(lambda: list(fit_gauge(head, vectors, Gauge.identity(N, C))))
