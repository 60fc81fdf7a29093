"""The gauge: the equation itself, what softmax and log-odds make of it, and that a branch from it can tell absence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import N, refusal, toy

from bsoftmax.cams import SOURCES, View, class_map
from bsoftmax.models.gauge import Gauge
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training.gauge import PENALTY, fit_gauge, fit_rows
from bsoftmax.training.solver import stacked
from bsoftmax.training.vectors import Vectors

C, n = 5, 60
CPU = torch.device("cpu")


@pytest.fixture
def head():
    torch.manual_seed(0)
    return nn.Linear(N, C)


@pytest.fixture
def gauge():
    generator = torch.Generator().manual_seed(1)
    parts = torch.tensor(1.7), torch.randn(N, generator=generator), torch.tensor(-2.0)
    return Gauge(*parts, torch.zeros(C, 0), torch.zeros(0, N))


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
    model.sigmoid = gauge_branch = replace(gauge, direction=torch.randn(N)).applied(model.softmax)
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
    flat, labels = stacked(vectors, vectors.good, CPU)
    found = Gauge.identity(head)
    before = float(balanced_bce(found.applied(head)(flat), labels))
    last = list(fit_gauge(head, vectors, found))[-1]
    size = lambda g: float(g.scale**2 + g.direction.square().sum() + g.offset**2)
    loss = lambda g: float(balanced_bce(g.applied(head)(flat), labels)) + PENALTY / 2 * size(g)
    assert last.loss < before
    assert last.objective == pytest.approx(loss(found), rel=1e-5)
    for step in (0.03, -0.03):
        for part in ("scale", "direction", "offset"):
            assert loss(replace(found, **{part: getattr(found, part) + step})) > last.objective - 1e-6


def test_a_head_of_several_layers_has_no_gauge(head):
    vectors = Vectors.of(torch.randn(1, 4, N), torch.tensor([0, 1, 2, 3]))
    deep = nn.Sequential(nn.Linear(N, N), nn.ReLU(), nn.Linear(N, C))
    assert "several" in refusal(lambda: list(fit_gauge(deep, vectors, Gauge.identity(head))))


def test_rows_gain_what_their_rank_allows(head):
    """Eq. 12 falls with the rank, never below that of the rows themselves, and a strong pull leaves the gauge alone."""
    generator = torch.Generator().manual_seed(3)
    vectors = Vectors.of(torch.randn(1, n, N, generator=generator), torch.arange(n) % C)
    flat, labels = stacked(vectors, vectors.good, CPU)
    losses = {}
    for rank in (0, 1, C):
        found = Gauge.identity(head)
        list(fit_gauge(head, vectors, found))
        last = list(fit_rows(head, vectors, found, pull=0.01, rank=rank))[-1]
        assert found.left.shape == (C, rank)
        losses[rank] = float(balanced_bce(found.applied(head)(flat), labels))
    assert losses[0] > losses[1] > losses[C]
    assert losses[C] >= last.loss - 1e-3  # what is cut away is the bias alone
    list(fit_rows(head, vectors, found := Gauge.identity(head), pull=1e6, rank=C))
    torch.testing.assert_close(found.applied(head).weight, head.weight, atol=1e-4, rtol=1e-4)


def test_its_tensors_give_it_back(head, gauge):
    gauge.left, gauge.right = torch.randn(C, 2).half().float(), torch.randn(2, N).half().float()
    again = Gauge.from_tensors(gauge.tensors())
    assert torch.equal(again.applied(head).weight, gauge.applied(head).weight)
    assert "do not fit" in refusal(lambda: gauge.applied(nn.Linear(N, C + 1)))
