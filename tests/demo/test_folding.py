"""Folded trunks: the same features within rounding, and the trunk itself where that cannot be had."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from toys import ToyTrunk, small_model, toy

from demo.server import folding
from demo.server.folding import faster


def test_a_network_with_batchnorm_keeps_its_features_and_is_left_alone():
    model = small_model(("lion", "tench"))
    before = model.frozen_hash()
    x = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    F, tokens = faster(model)(x)
    expected, _ = model.features(x)
    torch.testing.assert_close(F, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert tokens is None
    assert not F.requires_grad
    assert model.frozen_hash() == before


def test_what_has_no_batchnorm_or_is_large_is_not_copied(monkeypatch):
    assert faster(toy()) is None
    monkeypatch.setattr(folding, "MOST", 10)
    assert faster(small_model(("lion", "tench"))) is None


class Backwards(ToyTrunk):
    """BatchNorm that stands behind a convolution and runs before it."""

    def __init__(self, broken=False):
        super().__init__()
        self.norm = nn.BatchNorm2d(6) if broken else BatchNormAct2d(3)
        self.net = nn.Sequential(nn.Conv2d(3, 3, 1), self.norm, self.net) if not broken else self.net
        self.broken = broken
        self.eval()

    def forward(self, x):
        if self.broken:
            raise RuntimeError("not here")
        first, norm, rest = self.net
        return rest(first(norm(x))), None


@pytest.mark.parametrize("broken", [False, True])
def test_a_copy_that_answers_otherwise_is_not_used(broken):
    model = toy(double=False)
    model.trunk = Backwards(broken)
    model.trunk.norm.running_mean += 1
    assert faster(model) is None
