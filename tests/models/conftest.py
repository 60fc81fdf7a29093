"""A small model of three classes, pictures for it, and one whose frozen part comes from local weights."""

from __future__ import annotations

import pytest
import torch
from saved_models import CLASSES, local_weights
from toys import randomise, small_model

from bsoftmax.models.dual_branch import DualBranch


@pytest.fixture
def model():
    return small_model(CLASSES)


@pytest.fixture
def x():
    return torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A model whose frozen part comes from "the Hub": here a folder of local weights, and no network."""
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    local_weights(tmp_path / "weights", seed=1)
    model = DualBranch.pretrained("test_resnet")
    randomise(model.add_branch())
    return model
