"""Models by bundled name, path, trunk, or from the Hub."""

from __future__ import annotations

import json

from saved_models import CLASSES, same
from toys import refusal

from bsoftmax.models import bundled, zoo
from bsoftmax.models.dual_branch import FILE, DualBranch

# --- the Hub ----------------------------------------------------------------------------------------------------------


def test_hub_round_trip_in_a_folder(model, tmp_path, x):
    model.save_pretrained(tmp_path / "repo")
    assert {FILE, "config.json"} <= {p.name for p in (tmp_path / "repo").iterdir()}
    config = json.loads((tmp_path / "repo" / "config.json").read_text())
    assert config == {"trunk": "test_resnet", "layer": model.spec.layer, "classes": list(CLASSES)}
    again = DualBranch.from_pretrained(str(tmp_path / "repo"))
    assert same(again(x), model(x))
    assert again.spec == model.spec


def test_hub_download_asks_for_the_one_file(model, tmp_path, monkeypatch, x):
    stored, asked = model.save(tmp_path / "cached"), []

    def download(repo, file, **options):
        asked.append((repo, file, options["revision"]))
        return str(stored)

    monkeypatch.setattr("bsoftmax.models.dual_branch.hf_hub_download", download)
    again = DualBranch._from_pretrained(model_id="someone/branch", revision="v1")
    assert asked == [("someone/branch", "model.safetensors", "v1")]
    assert same(again(x), model(x))


# --- names of models --------------------------------------------------------------------------------------------------


def test_models_open_by_bundled_name_path_or_trunk(model, tmp_path, monkeypatch, x):
    monkeypatch.setattr(bundled, "CHECKPOINTS", tmp_path)
    monkeypatch.chdir(tmp_path)  # where there is no folder checkpoints
    model.save(tmp_path / "mini.safetensors")
    model.save(tmp_path / "resnet50.tv_in1k.safetensors")  # weights kept beside the bundled models are not one of them
    assert list(zoo.bundled()) == ["mini"]
    assert zoo.names()[:2] == ["mini", "resnet10t"]
    for name in ("mini", tmp_path / "mini.safetensors", str(tmp_path / "mini.safetensors")):
        assert same(zoo.open_model(name)(x), model(x))
    assert zoo.open_model("test_resnet", weights=None).sigmoid is None
    assert "mini2" in refusal(lambda: zoo.open_model("mini2"))
    assert "absent.safetensors" in refusal(lambda: zoo.open_model(tmp_path / "absent.safetensors"))


def test_checkpoints_in_the_folder_of_weights_open_by_name_beside_the_bundled_ones(model, tmp_path, monkeypatch, x):
    monkeypatch.setattr(bundled, "CHECKPOINTS", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    for place in ("bundled/mini", "checkpoints/mini", "checkpoints/mine"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        model.save(tmp_path / f"{place}.safetensors")
    (tmp_path / "checkpoints" / "broken.safetensors").write_bytes(b"no weights")
    assert zoo.bundled()["mini"].parent == tmp_path / "bundled"  # a file of a visitor's folder takes no bundled name
    assert same(zoo.open_model("mine")(x), model(x))
    assert list(zoo.unreadable()) == ["broken.safetensors"]


def test_bundled_models_are_in_the_package_or_beside_it(tmp_path):
    assert bundled.bundled_folder(tmp_path / "bsoftmax") == tmp_path / "checkpoints"
    (tmp_path / "bsoftmax" / "checkpoints").mkdir(parents=True)
    assert bundled.bundled_folder(tmp_path / "bsoftmax") == tmp_path / "bsoftmax" / "checkpoints"
