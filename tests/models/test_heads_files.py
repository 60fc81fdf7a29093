"""Checkpoints without their trunk: kilobytes that open on the trunk they were made with, and on no other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from saved_models import same
from toys import refusal, small_model

from bsoftmax.models import bundled, checkpoints, zoo
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.gauge import Gauge

CLASSES = ("ant", "bee")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of bundled models with one in it."""
    monkeypatch.setattr(bundled, "CHECKPOINTS", tmp_path)
    small_model(("blue", "green", "red")).save(tmp_path / "base.safetensors")
    return tmp_path


@pytest.fixture
def trained(folder):
    """Two heads for other classes on the bundled trunk."""
    model = zoo.open_model("base").for_classes(CLASSES)
    torch.nn.init.normal_(model.softmax.weight)
    torch.nn.init.normal_(model.add_branch().weight)
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))


def test_heads_open_on_their_trunk_wherever_checkpoints_do(trained, folder, x):
    path = trained.save(folder / "heads.safetensors", heads=True)
    whole = trained.save(folder / "whole.safetensors")
    assert path.stat().st_size < whole.stat().st_size / 20
    tensors, meta = checkpoints.read(path)
    assert {key.split(".")[0] for key in tensors} == {"softmax", "sigmoid"}
    assert meta["origin"]["trunk"] == "bundled:base"
    assert meta["trunk_sha256"] == trained.trunk_hash() == zoo.open_model("base").trunk_hash()
    for opened in (DualBranch.load(path), zoo.open_model("heads"), DualBranch.load(whole)):
        assert opened.classes == CLASSES
        assert same(opened(x), trained(x))
        assert opened.frozen_hash() == trained.frozen_hash()
    again = DualBranch.load(path).save(folder / "again.safetensors", heads=True)
    assert same(DualBranch.load(again)(x), trained(x))


def test_another_trunk_of_the_same_name_is_refused_with_a_sentence(trained, folder):
    path = trained.save(folder / "heads.safetensors", heads=True)
    other = small_model(("blue", "green", "red"))
    with torch.no_grad():
        next(other.trunk.parameters()).add_(1)
    other.save(folder / "base.safetensors")
    assert "other weights of 'test_resnet'" in refusal(lambda: DualBranch.load(path), CheckpointError)
    (folder / "base.safetensors").unlink()
    assert "'base', which is not here" in refusal(lambda: DualBranch.load(path), CheckpointError)


def test_heads_that_name_themselves_as_their_trunk_are_refused(trained, folder):
    path = trained.save(folder / "heads.safetensors", heads=True)
    tensors, meta = checkpoints.read(path)
    meta["origin"]["trunk"] = "bundled:heads"
    checkpoints.write(path, tensors, meta)
    assert "not here" in refusal(lambda: DualBranch.load(path), CheckpointError)


def test_a_trunk_that_nobody_else_has_is_saved_whole(folder):
    model = small_model(CLASSES)
    assert "fine-tuned" in refusal(lambda: model.save(folder / "heads.safetensors", heads=True))
    assert not (folder / "heads.safetensors").exists()


def test_a_branch_of_few_numbers_is_stored_as_these(trained, folder, x):
    gauge = Gauge.identity(trained.softmax)
    gauge.scale, gauge.offset = torch.tensor(1.5), torch.tensor(-3.0)
    gauge.direction = torch.randn(trained.softmax.in_features)
    trained.set_gauge(dataclasses.replace(gauge))
    path = trained.save(folder / "gauge.safetensors", heads=True)
    tensors, _ = checkpoints.read(path)
    assert not any(key.startswith("sigmoid.") for key in tensors)
    opened = DualBranch.load(path)
    assert same(opened(x), trained(x))
    torch.testing.assert_close(opened.sigmoid.weight, 1.5 * opened.softmax.weight + gauge.direction)
    opened.add_branch()  # a branch trained afresh is stored as its rows
    assert any(k.startswith("sigmoid.") for k in checkpoints.read(opened.save(folder / "rows.safetensors"))[0])


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_a_gauge_that_does_not_fit_is_refused(fault, trained, folder):
    trained.set_gauge(Gauge.identity(trained.softmax))
    path = trained.save(folder / "gauge.safetensors", heads=True)
    tensors, meta = checkpoints.read(path)
    if fault == "missing":
        del tensors["gauge.direction"]
    else:
        tensors["gauge.direction"] = torch.zeros(3)
    checkpoints.write(path, tensors, meta)
    assert "does not fit" in refusal(lambda: DualBranch.load(path), CheckpointError)
