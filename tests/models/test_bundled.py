"""The bundled heads of wild20 on the ImageNet trunk: what the README promises of them, on photographs."""

import os

import gradio as gr
import numpy as np
import pytest
import reference as ref
import torch
import wild20

from bsoftmax import METHODS, SOURCES, View, open_model
from bsoftmax.cams import methods
from bsoftmax.data.sets import read_class_folders
from bsoftmax.images.read import read_rgb
from bsoftmax.models import checkpoints, zoo
from bsoftmax.utils import files


@pytest.fixture(scope="module")
def model():
    return open_model("wild20")


@pytest.fixture(scope="module")
def view(model):
    return View(model, model.preprocess(read_rgb(gr.get_image("lion.jpg"))))


@pytest.mark.parametrize(("file", "name"), [("cheetah1.jpg", "cheetah"), ("lion.jpg", "lion")])
def test_the_example_photographs_are_classified_rightly_by_both_heads(model, file, name):
    out = model(model.preprocess(read_rgb(gr.get_image(file))))
    for logits in out.values():
        assert model.classes[int(logits.argmax())] == name


def test_the_file_has_the_heads_alone_and_is_described(model):
    path = zoo.bundled()["wild20"]
    assert path.stat().st_size < 300_000
    tensors, meta = checkpoints.read(path)
    assert {name.split(".")[0] for name in tensors} == {"softmax", "sigmoid"}
    assert len(meta["classes"]) == 20
    assert meta["frozen_sha256"] == model.frozen_hash()
    assert meta["trunk_sha256"] == open_model("imagenet").trunk_hash()
    assert {"softmax", "sigmoid", "data", "command"} <= meta["training"].keys()
    assert files.file_hash(path)[:16] in (path.parent / "README.md").read_text()


def test_maps_are_14_by_14_and_add_up_to_the_logit(model, view):
    k = int(view.logits("softmax").argmax())
    for branch in ("softmax", "sigmoid"):
        S = methods.class_map(view.evidence(branch, k), "cam", clamp=False)[0]
        assert S.shape == (14, 14)
        bias = model.classifier(branch).bias[k]
        torch.testing.assert_close(S.mean() + bias, view.logits(branch)[0, k], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_maps_equal_the_slow_reference(model, view, source, clamp):
    k = int(view.logits("softmax").argmax())
    evidence = view.evidence(source, k)
    F, G = (t[0, :40].double().numpy() for t in (evidence.F, evidence.G))  # loops over 512 channels would take minutes
    for key, alpha in ref.ALPHAS.items():
        ours = METHODS[key].weights(*(torch.from_numpy(t)[None] for t in (F, G)))[0]
        expected = np.asarray(alpha(F, G))
        np.testing.assert_allclose(
            np.broadcast_to(ours.numpy().squeeze(), expected.shape), expected, rtol=1e-6, atol=1e-12
        )


def test_identical_methods_are_identical(model, view):
    k = int(view.logits("softmax").argmax())
    for source in SOURCES:
        for clamp in (False, True):
            groups = methods.identical_by_construction(model, source, clamp)
            assert {"cam", "gradcam"} <= groups[0]
            for group in groups:
                maps = [methods.class_map(view.evidence(source, k), m, clamp)[0] for m in sorted(group)]
                unit = [S / S.abs().max() for S in maps]
                for other in unit[1:]:
                    torch.testing.assert_close(other, unit[0], atol=1e-5, rtol=1e-4)


@pytest.mark.realdata
def test_the_bars_on_wild20_val(model, tmp_path):
    """The bars hold for what was recorded of all images; every thirtieth of each class is still answered so."""
    if not wild20.VAL.is_dir():
        if os.environ.get("BSOFTMAX_DATA"):
            pytest.fail(f"BSOFTMAX_DATA is set, but there is no {wild20.VAL}")
        pytest.skip(f"no photographs in {wild20.VAL}")
    val = read_class_folders(wild20.VAL)
    record, answers = wild20.recorded()
    assert record["model"] == files.file_hash(zoo.bundled()["wild20"])
    assert record["images"] == val.fingerprint()
    labels, stated = torch.tensor(val.labels), model.spec.metrics["val"]
    for head in wild20.HEADS:
        assert len(answers[head]) == len(val) == 4242
    softmax, sigmoid = (100 * (answers[head] == labels).float().mean().item() for head in wild20.HEADS)
    assert min(softmax, sigmoid) >= 98
    assert stated["softmax_top1"] == pytest.approx(softmax, abs=0.1)
    assert stated["sigmoid_top1"] == pytest.approx(sigmoid, abs=0.1)
    some = torch.cat([torch.nonzero(labels == k)[::30, 0] for k in range(len(val.classes))])
    again = wild20.answers(model, val.subset(some.tolist()), tmp_path)
    for head in wild20.HEADS:
        assert (again[head] == answers[head][some]).float().mean() >= 0.99  # bfloat16 may turn one over
