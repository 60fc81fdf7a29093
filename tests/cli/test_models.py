"""The models command: bundled ones, trunks, and what lies in the folder of weights."""

from __future__ import annotations

import re

import pytest

from bsoftmax.models import bundled, zoo


def test_models_lists_bundled_ones_and_trunks(run, folder, monkeypatch):
    monkeypatch.setattr(bundled, "CHECKPOINTS", folder)
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^both +bundled: test_resnet, 3 classes", out, re.M)
    for name in ("resnet10t", "resnet50", "vgg16", "vgg16_cam", "inception_v3"):
        assert re.search(rf"^{name} +\S", out, re.M)
    assert "fresh: train it" in out
    code, _, _ = run("explain", "@/wide.png", "--model", "both", "--out", "m.npz")
    assert code == 0


def test_models_names_weights_that_are_already_here(run, tmp_path):
    assert "local file" not in run("models")[1]
    (tmp_path / "resnet50.tv_in1k.safetensors").touch()
    assert re.search(r"^resnet50 .*local file .*resnet50\.tv_in1k\.safetensors", run("models")[1], re.M)


@pytest.fixture
def mixed(folder, tmp_path, monkeypatch):
    """One folder with a checkpoint of ours, weights of a timm trunk as timm saves them, and a damaged file."""
    import shutil

    import timm
    from safetensors.torch import save_file

    monkeypatch.setattr(bundled, "CHECKPOINTS", tmp_path)  # which is the folder of weights too, see `run`
    shutil.copy(folder / "both.safetensors", tmp_path / "mine.safetensors")
    net = timm.create_model("test_resnet")
    save_file(net.state_dict(), tmp_path / "test_resnet.safetensors", metadata={"format": "pt"})
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    return tmp_path


def test_checkpoints_and_weights_of_trunks_lie_side_by_side(run, mixed):
    """A file of weights in the folder once made `models`, `explain`, `diagnose` and the page end with its error."""
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"^mine +bundled: test_resnet, 3 classes", out, re.M)
    assert re.search(r"^test_resnet +generic cut; local file .*test_resnet\.safetensors", out, re.M)
    assert re.search(r"^broken.safetensors +cannot be opened: .*not a readable safetensors file", out, re.M)
    assert zoo.names()[0] == "mine"
    assert "test_resnet" in zoo.names()
    assert "broken" not in " ".join(zoo.names())
    for name in ("mine", "test_resnet"):
        assert run("explain", "@/wide.png", "--model", name, "--out", "m.npz")[0] == 0
        assert run("diagnose", name)[0] == 0
    code, _, err = run("explain", "@/wide.png", "--model", "test_resnet.safetensors", "--out", "n.npz")
    assert code == 2
    assert "was not written by bsoftmax" in err
    assert "--weights" in err
