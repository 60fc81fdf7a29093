"""Networks by name, and weights from safe places."""

from __future__ import annotations

import os
import struct

import pytest
import timm
import torch
from safetensors.torch import save_file
from toys import logits, refusal, uncut

from bsoftmax.models import backbones
from bsoftmax.models.backbones import BACKBONES, WeightsError, build, find
from bsoftmax.models.heads import last_linear


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of local weights, and no network."""
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(backbones, "hf_hub_download", offline)
    return tmp_path


def offline(*_, **__):
    raise ConnectionError("no network in tests")


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("vgg16cam", "vgg16_cam"), ("inceptionv3", "inception_v3")]
)
def test_unknown_names_give_near_ones(name, near):
    message = refusal(lambda: build(name, None))
    assert repr(name) in message
    assert near in message


def test_names_near_to_nothing_are_refused_too():
    assert "qqqqqqqq" in refusal(lambda: find("qqqqqqqq"))
    assert "None" not in refusal(lambda: find("qqqqqqqq"))


def test_unknown_tags_of_a_known_network_are_refused(folder):
    for weights in ("hub", None):
        assert "resnet50.no_such_tag" in refusal(lambda weights=weights: build("resnet50.no_such_tag", weights))


def test_every_entry_names_a_timm_model_with_weights_on_the_hub():
    for name, entry in BACKBONES.items():
        cfg = timm.get_pretrained_cfg(entry.timm)
        assert find(name) is entry
        assert cfg.hf_hub_id or name == "resnet10t"
        assert entry.note


def test_any_other_timm_name_is_cut_at_stride_16_where_it_can_be():
    with torch.no_grad():  # which must not keep a network from being cut
        assert build("test_resnet", None, 3).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (6, 6)
        assert build("test_resnet", None, 3, stride=32).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (3, 3)
        assert build("test_mambaout", None, 3).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (3, 3)


def test_classes_have_names():
    assert build("test_resnet", None).classes[:2] == ("tench", "goldfish")
    assert len(set(build("test_resnet", None).classes)) > 990
    assert build("test_resnet", None, num_classes=2).classes == ("class 0", "class 1")


# --- weights ----------------------------------------------------------------------------------------------------------


def test_missing_weights_offline_say_what_to_bring_and_where(folder):
    message = refusal(lambda: build("resnet50"), WeightsError)
    assert "timm/resnet50.tv_in1k" in message
    assert "model.safetensors" in message
    assert str(folder / "resnet50.tv_in1k.safetensors") in message
    assert ". " not in message


def test_following_that_advice_works(folder):
    advised = refusal(lambda: build("test_resnet"), WeightsError).split("'")[-2]
    net = uncut("test_resnet", advised)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(logits(build("test_resnet", stride=32), x), net(x), rtol=1e-4, atol=1e-4)


def test_a_new_classifier_on_local_weights_keeps_the_trunk(folder):
    net = uncut("test_resnet", folder / "test_resnet.safetensors")
    parts = build("test_resnet", num_classes=3)
    assert last_linear(parts.classifier).out_features == 3
    assert torch.equal(parts.trunk.state_dict()["net.conv1.0.weight"], net.state_dict()["conv1.0.weight"])


def test_the_hub_is_asked_for_the_safetensors_file(monkeypatch, tmp_path):
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "nothing"))
    net, asked = uncut("test_resnet", tmp_path / "cached"), []
    monkeypatch.setattr(backbones, "hf_hub_download", lambda *a, **_: asked.append(a) or str(tmp_path / "cached"))
    parts = build("test_resnet")
    assert asked == [(timm.get_pretrained_cfg("test_resnet").hf_hub_id, "model.safetensors")]
    assert torch.equal(parts.classifier.weight, net.fc.weight)


class Trap:
    """Unpickling this creates a file: proof that something was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_under_a_safe_name_is_refused_and_never_opened(folder):
    path = folder / "test_resnet.safetensors"
    torch.save({"conv1.weight": Trap(str(folder / "sprung"))}, path)
    for weights in ("hub", path):
        message = refusal(lambda weights=weights: build("test_resnet", weights), WeightsError)
        assert "test_resnet.safetensors" in message
        assert "pickled" in message
    (folder / "w.bin").write_bytes(path.read_bytes())
    refusal(lambda: build("test_resnet", folder / "w.bin"), WeightsError)  # torch.load looks at the name, we do not
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"{}", struct.pack("<Q", 1 << 60), b"\x00" * 100])
def test_damaged_weights_are_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    assert "w.safetensors" in refusal(lambda: build("test_resnet", tmp_path / "w.safetensors"), WeightsError)


def test_a_missing_file_of_weights_is_named(tmp_path):
    assert "nowhere.safetensors" in refusal(
        lambda: build("test_resnet", tmp_path / "nowhere.safetensors"), WeightsError
    )


@pytest.mark.parametrize("damage", ["another network", "shape", "missing"])
def test_weights_that_do_not_fit_are_refused_and_the_misfit_is_named(damage, tmp_path):
    path = tmp_path / "w.safetensors"
    state = timm.create_model("test_convnext" if damage == "another network" else "test_resnet").state_dict()
    if damage == "shape":
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:1]
    if damage == "missing":
        del state["layer1.0.conv1.weight"]
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    message = refusal(lambda: build("test_resnet", path), WeightsError)
    assert "test_resnet" in message
    if damage != "another network":
        assert "layer1.0.conv1.weight" in message
