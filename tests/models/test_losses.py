"""Eq. 12 against loops, and what it says of one positive, extremes and shifts."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
import torch
from torch import nn
from toys import C

from bsoftmax.models.losses import balanced_bce

# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_loss_agrees_with_equation_12(classes):
    rng = np.random.default_rng(0)
    z, labels = rng.normal(0, 2, (9, classes)), rng.integers(0, classes, 9)
    got = balanced_bce(torch.tensor(z), torch.tensor(labels))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.item(), ref.branch_loss(z, labels), rtol=1e-12)


def test_loss_gives_one_positive_the_weight_of_all_negatives():
    """At z = 0 the gradient is -(1 - 1/C)/2 at the class and 1/(2C) at each of the C - 1 others: they cancel."""
    z = torch.zeros(1, C, dtype=torch.float64, requires_grad=True)
    (G,) = torch.autograd.grad(balanced_bce(z, torch.tensor([2])), z)
    expected = torch.full((1, C), 0.5 / C, dtype=torch.float64)
    expected[0, 2] = -0.5 * (1 - 1 / C)
    torch.testing.assert_close(G, expected)
    assert abs(float(G.sum())) < 1e-15


def test_loss_of_extreme_logits_is_finite():
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    assert balanced_bce(z, torch.tensor([1, 0])).isfinite()
    assert balanced_bce(z, torch.tensor([0, 1])) == 0


def test_a_shift_common_to_all_classes_does_change_the_loss():
    """That is what pins the branch's weights down, and what cross-entropy cannot see."""
    torch.manual_seed(0)
    z, labels = torch.randn(4, C), torch.tensor([0, 1, 2, 3])
    assert (balanced_bce(z + 1, labels) - balanced_bce(z, labels)).abs() > 0.05
    torch.testing.assert_close(nn.functional.cross_entropy(z + 1, labels), nn.functional.cross_entropy(z, labels))
