"""The models command: bundled ones, trunks, and what lies in the folder of weights."""

from __future__ import annotations

import re

import pytest
from paths import ROOT

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


def test_check_says_how_a_trunk_is_cut(run):
    code, out, err = run("models", "--check", "test_resnet")
    assert (code, err) == (0, "")
    for line in (r"family +ResNet", r"F +\d+x10x10 at 160 px, stride 16", r"kept aside +nothing", r"pooling +average",
                 r"head +one linear layer, \d+ -> 1000", r"stride +timm's output_stride=16"):  # fmt: skip
        assert re.search(rf"^  {line}$", out, re.M), out
    assert float(re.search(r"differ from timm's at this stride by (\S+)", out)[1]) < 1e-5


def test_check_says_what_was_lifted_and_what_is_kept_aside(run):
    out = run("models", "--check", "mobilenetv3_small_050")[1]
    assert re.search(r"^  stride +blocks\.4\.0\.conv_dw at stride 1, 2 layers behind dilated by 2$", out, re.M)
    assert re.search(r"^  lifted F +at every second position", out, re.M)
    out = run("models", "--check", "test_vit")[1]
    assert re.search(r"^  kept aside +1 tokens?$", out, re.M)
    assert re.search(r"^  stride +not lifted: its tokens form one grid", out, re.M)
    code, _, err = run("models", "--check", "no_such_network")
    assert code == 2
    assert "no_such_network" in err


def test_check_says_why_a_network_of_several_grids_is_not_cut(run):
    _, out, err = run("models", "--check", "coat_mini")
    assert "coat_mini has 3 grids of features, not one" in out + err
    assert "Traceback" not in err


def test_the_table_of_trunks_holds_what_it_says():
    """docs/trunks.md is written by benchmarks/trunks.py: maps whose logits are timm's, or reasons."""
    text = (ROOT / "docs" / "trunks.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    maps = [row for row in rows if row[2] != "none"]
    assert f"How {len(rows)} of timm's" in text
    assert f"{len(maps)} give maps" in text
    assert len(maps) >= 5 / 6 * len(rows)
    assert all(float(row[6]) <= 1e-5 for row in maps)
    assert all(row[7].endswith("choose another trunk.") for row in rows if row[2] == "none")
