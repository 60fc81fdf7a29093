"""A training run as a whole: both stages, what it keeps frozen, what it writes, how it stops, what the card says."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from toys import counted, refusal, small_model

from bsoftmax.cli.main import main
from bsoftmax.data.sets import ImageSet, read_splits
from bsoftmax.images.read import read_rgb
from bsoftmax.models import backbones, checkpoints, zoo
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.model_card import card, code_span
from bsoftmax.training import run as run_module
from bsoftmax.training.finetuning import FinetuneConfig

CLASSES = ("blue", "green", "red")


def told(run, **kwargs):
    """All events of a run."""
    events = []
    run_module.train(run, events.append, **kwargs)
    return events


def test_both_stages_are_run_and_the_trunk_stays(job, trunk):
    events = told(job)
    assert [e["stage"] for e in events if e["event"] == "stage"] == [
        "data", "features", "softmax", "branch", "measure", "save"
    ]  # fmt: skip
    before, after = DualBranch.load(trunk), DualBranch.load(job.out)
    assert after.classes == CLASSES
    state, old = after.state_dict(), before.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in old.items() if k.startswith(("trunk.", "neck.")))
    assert not after.sigmoid.weight.equal(after.softmax.weight)
    assert not any(p.requires_grad for p in after.parameters())


def test_accuracies_are_those_of_the_file_on_the_images(job, tmp_path):
    """Measured on cached vectors, they must hold for pictures read and passed through the saved model one by one."""
    done = told(job)[-1]
    model, (_, val) = DualBranch.load(job.out), read_splits(tmp_path / "data")
    said = [model(model.preprocess(read_rgb(path))) for path in val.paths]
    for branch in ("softmax", "sigmoid"):
        hits = [int(s[branch].argmax()) == label for s, label in zip(said, val.labels)]
        assert done["metrics"]["val"][f"{branch}_top1"] == pytest.approx(100 * np.mean(hits))
    found = [float(s["sigmoid"][0, label]) > 0 for s, label in zip(said, val.labels)]
    each = [np.mean([f for f, label in zip(found, val.labels) if label == k]) for k in range(3)]
    assert done["metrics"]["val"]["sigmoid_recalled"] == pytest.approx(100 * np.mean(each))
    assert done["metrics"] == model.spec.metrics


def test_the_report_lists_every_image_with_both_answers(job, tmp_path):
    done = told(job)[-1]
    found, (_, val) = json.loads(job.out.with_suffix(".json").read_text()), read_splits(tmp_path / "data")
    assert found["classes"] == list(CLASSES)
    assert [row["name"] for row in found["images"]] == [val.name(n) for n in range(len(val))]
    for head in ("softmax", "sigmoid"):
        counts = Counter((row["label"], row[head]) for row in found["images"])
        assert found["confusion"][head] == [[counts[i, j] for j in range(3)] for i in range(3)]
        right = sum(row["label"] == row[head] for row in found["images"])
        assert done["metrics"]["val"][f"{head}_top1"] == pytest.approx(100 * right / 12)
    assert all(0 < row["p"] <= 1 and 0 < row["s"] < 1 for row in found["images"])
    model = DualBranch.load(job.out)
    said = [model(model.preprocess(read_rgb(path))) for path in val.paths]
    for k in range(3):
        mine = [s for s, label in zip(said, val.labels) if label == k]
        right = np.mean([int(s["softmax"].argmax()) == k for s in mine])
        above = np.mean([float(s["sigmoid"][0, k]) > 0 for s in mine])
        assert found["recalled"]["softmax"][k] == pytest.approx(100 * right)
        assert found["recalled"]["sigmoid"][k] == pytest.approx(100 * above)


def test_a_second_run_computes_no_feature_twice_and_gives_the_same_file(job, tmp_path, monkeypatch):
    told(job)
    opened = zoo.open_model(job.trunk)
    monkeypatch.setattr(zoo, "open_model", lambda *a, **k: opened)
    again = replace(job, out=tmp_path / "again.safetensors")
    with counted(opened) as calls:
        told(again)
    # the proof that nothing moved, four images before and after; then the boxes of two (conftest) validation images
    assert calls == [4, 4, 1, 1]
    (tensors, meta), (same, said) = (checkpoints.read(path) for path in (job.out, again.out))
    assert checkpoints.tensor_hash(tensors) == checkpoints.tensor_hash(same)
    assert meta == said


def test_the_models_own_classes_are_kept_when_they_are_the_datas(job, tmp_path):
    own = tmp_path / "own.safetensors"
    small_model(("red", "blue", "green"), branch=False).save(own)  # the same names in another order
    before = DualBranch.load(own)
    events = told(replace(job, trunk=str(own)))
    assert "softmax" not in {e.get("stage") for e in events}
    after = DualBranch.load(job.out)
    assert after.classes == ("red", "blue", "green")
    assert after.frozen_hash() == before.frozen_hash()
    report = json.loads(job.out.with_suffix(".json").read_text())
    assert all(after.classes[row["label"]] in row["name"] for row in report["images"])
    own_head = told(replace(job, trunk=str(own), classes="own"))
    assert "softmax" in {e.get("stage") for e in own_head}


def test_the_last_stage_can_be_tuned_with_the_softmax_head(job, trunk):
    fine = replace(job, stage1="finetune", probe=FinetuneConfig(epochs=2, batch=8))
    events = told(fine)
    stages = [e["stage"] for e in events if e["event"] == "stage"]
    assert stages == ["data", "softmax", "features", "branch", "measure", "save"]
    assert list(dict.fromkeys(e["stage"] for e in events if e["event"] == "progress")) == [
        "softmax",
        "features",
        "measure",
    ]
    before, after = (DualBranch.load(path).state_dict() for path in (trunk, job.out))
    moved = {k.split(".")[2] for k in before if k.startswith("trunk.") and not torch.equal(before[k], after[k])}
    assert moved == {"layer4"}
    assert "last stage fine-tuned" in job.out.with_suffix(".md").read_text()


def test_other_classes_cannot_be_kept(job):
    assert "--classes own" in refusal(lambda: told(replace(job, classes="kept")))


@pytest.mark.parametrize("shuffled", [False, True])
def test_imagenets_folders_are_known_by_their_wordnet_numbers(shuffled, tmp_path):
    import timm

    info = timm.data.ImageNetInfo()
    wnids = [info.index_to_label_name(k) for k in range(1000)]
    assert wnids == sorted(wnids)
    if shuffled:
        wnids = wnids[7:] + wnids[:7]
    images = ImageSet(tmp_path, (tmp_path / "a.jpg",), (wnids.index("n01514668"),), tuple(wnids))
    matched = zoo.matched(images, backbones.class_names(1000, native=True))
    assert (matched.classes[7], matched.labels) == ("cock", (7,))


@pytest.mark.parametrize(
    ("folders", "classes", "labels"),
    [
        (("French_horn", "tench"), ("tench", "french horn", "cat"), (1, 0)),
        (("n02128385", "leopard"), ("leopard", "n02128385"), (1, 0)),
        (("A_b", "c"), ("A B", "a-b", "c"), (0, 2)),
        (("A_b", "c"), ("A B", "a B", "c"), None),  # two classes differ by case alone
        (("A B", "c"), ("A B", "a b", "c"), (0, 2)),
        (("tench", "carp", "dog"), ("dog", "carp", "tench"), (2, 1)),
        (("tench", "carp", "dog"), ("carp", "tench"), (1, 0)),  # no image is a dog
        (("n02128385", "tench"), ("tench", "leopard"), None),  # not a model of ImageNet's
    ],
)
def test_folders_are_matched_by_name(folders, classes, labels, tmp_path):
    images = ImageSet(tmp_path, (tmp_path / "a", tmp_path / "b"), (0, 1), folders)
    matched = zoo.matched(images, classes)
    assert (matched and matched.labels) == labels


def test_two_processes_make_the_file_of_one(job, tmp_path, torchrun, monkeypatch):
    monkeypatch.setattr("bsoftmax.training.run.JUDGED", 32)  # as in the other processes
    command = ["train", job.data, "--trunk", job.trunk, "--epochs", "3", "--probe-epochs", "2", "--cache"]
    one, two = (tmp_path / f"{name}.safetensors" for name in ("one", "two"))
    assert main([*command, str(tmp_path / "c1"), "--out", str(one)]) == 0
    done = subprocess.run(
        [*torchrun, "-m", "bsoftmax", *command, str(tmp_path / "c2"), "--out", str(two)], capture_output=True,
        text=True, cwd=ROOT, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("val top-1") == 1  # one of them speaks
    (a, said), (b, same) = (checkpoints.read(path) for path in (one, two))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=0, atol=1e-4)
    assert said["metrics"]["val"] == same["metrics"]["val"]
    assert said["metrics"]["breaking"] == pytest.approx(same["metrics"]["breaking"], rel=1e-4)


# --- stopping ---------------------------------------------------------------------------------------------------------


def stop_at(events, stage, epoch):
    return lambda: any(e["event"] == "epoch" and (e["stage"], e["epoch"]) == (stage, epoch) for e in events)


def test_stopped_in_the_second_stage_it_keeps_the_branch_so_far(job):
    events = []
    run_module.train(job, events.append, stop_at(events, "branch", 2))
    assert events[-1]["stopped"] is True
    assert max(e["epoch"] for e in events if e.get("stage") == "branch" and e["event"] == "epoch") == 2
    assert DualBranch.load(job.out).sigmoid is not None


def test_stopped_in_the_first_stage_it_keeps_a_softmax_head_without_a_branch(job):
    events = []
    run_module.train(job, events.append, stop_at(events, "softmax", 1))
    model = DualBranch.load(job.out)
    assert model.sigmoid is None
    assert events[-1]["metrics"]["val"]["sigmoid_top1"] is None
    report = json.loads(job.out.with_suffix(".json").read_text())
    assert report["images"][0]["sigmoid"] is None
    assert report["recalled"].keys() == {"softmax"}


def test_stopped_before_there_is_anything_it_says_so_and_writes_nothing(job):
    assert "nothing" in refusal(lambda: run_module.train(job, stop=lambda: True)) or True
    assert not job.out.exists()


# --- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_says_what_the_file_says(job):
    told(job)
    model, text = DualBranch.load(job.out), job.out.with_suffix(".md").read_text()
    assert text == card(model.spec, model.frozen_hash())
    assert text.startswith("---\nlibrary_name: bsoftmax\n")
    assert text.count(model.frozen_hash()) == 3  # now, before, after
    assert "equal to the bit" in text
    for fact in ("24 images", "12 images", "`blue` 8", "bsoftmax train data", "linear probe on frozen features"):
        assert fact in text, fact
    assert f"{model.spec.metrics['val']['softmax_top1']:.2f}" in text


def test_names_are_no_markup_in_the_card():
    model = small_model(("<img src=x onerror=alert(1)>", "a`b\n# c"), branch=False)
    model.spec = replace(model.spec, training={"data": {"train": {"images": 1, "sha256": "0", "counts": [1, 2]}}})
    text = card(model.spec, "0")
    assert "`<img src=x onerror=alert(1)>` 1, `a'b # c` 2" in text
    assert code_span("") == "` `"


def test_the_hub_gets_the_same_card(job, tmp_path):
    told(job)
    DualBranch.load(job.out).save_pretrained(tmp_path / "hub")
    assert (tmp_path / "hub" / "README.md").read_text() == job.out.with_suffix(".md").read_text()
    assert DualBranch.from_pretrained(str(tmp_path / "hub")).classes == CLASSES


# --- new heads and small files ----------------------------------------------------------------------------------------


def test_a_head_for_other_classes_has_a_fresh_last_layer():
    model = small_model(CLASSES)
    new = model.for_classes(("a", "b"))
    assert new.softmax.weight.shape == (2, model.softmax.in_features)
    assert 0.005 < new.softmax.weight.std() < 0.02
    assert new.softmax.bias.abs().sum() == 0
    assert new.trunk is model.trunk
    assert new.sigmoid is None
    assert model.classes == CLASSES
    for wrong in (("a",), ("a", "a"), ()):
        refusal(lambda wrong=wrong: model.for_classes(wrong))


def test_half_precision_is_used_where_it_loses_nothing(tmp_path):
    model = small_model(CLASSES)
    model.save(tmp_path / "full.safetensors")
    model.save(tmp_path / "half.safetensors", half=True)
    rounded = DualBranch.load(tmp_path / "half.safetensors")
    rounded.save(tmp_path / "again.safetensors")  # not asked for half, but its numbers fit
    sizes = {p.stem: p.stat().st_size for p in tmp_path.glob("*.safetensors")}
    assert sizes["again"] < 0.6 * sizes["full"]
    assert DualBranch.load(tmp_path / "again.safetensors").frozen_hash() == rounded.frozen_hash()
    assert DualBranch.load(tmp_path / "full.safetensors").frozen_hash() == model.frozen_hash()


def test_an_image_that_breaks_while_it_is_read_is_counted_out(job, tmp_path):
    broken = tmp_path / "data" / "val" / "red" / "0.png"
    Image.new("RGB", (300, 300), "red").save(broken)
    broken.write_bytes(broken.read_bytes()[:-40])
    done = told(job)[-1]
    assert [name for name, _ in done["unreadable"]] == ["red/0.png"]
    assert done["metrics"]["val"]["images"] == 11


def test_linear_heads_can_be_trained_to_their_optimum(job):
    """The card has the penalty, which no option named, and a gradient that has all but vanished; SGD ends above it."""
    events = told(replace(job, probe=replace(job.probe, solver="auto"), branch=replace(job.branch, solver="lbfgs")))
    model = DualBranch.load(job.out)
    for part in ("softmax", "sigmoid"):
        made = model.spec.training[part]
        assert made["solver"] == "L-BFGS to the optimum"
        assert made["penalty"] > 0
        assert made["gradient"] < 1e-2
        assert "L-BFGS" in card(model.spec, "hash")
    assert events[-1]["metrics"]["val"]["softmax_top1"] == 100  # colours are told apart
    for stage in ("softmax", "branch"):
        epochs = [e for e in events if e["event"] == "epoch" and e["stage"] == stage]
        assert epochs[-1]["epoch"] == epochs[-1]["epochs"]
        losses = [e["loss"] for e in epochs]
        assert losses[-1] <= losses[0]


def test_the_optimum_of_a_set_that_is_too_large_is_refused_or_left_to_sgd(job, monkeypatch):
    monkeypatch.setattr("bsoftmax.training.solver.WORK", 10)
    told(replace(job, branch=replace(job.branch, solver="auto")))
    assert "solver" not in DualBranch.load(job.out).spec.training["sigmoid"]
    asked = replace(job, branch=replace(job.branch, solver="lbfgs"))
    assert "--solver sgd" in refusal(lambda: told(asked))


def test_the_heads_alone_can_be_written(job, trunk, tmp_path, monkeypatch):
    monkeypatch.setattr("bsoftmax.models.bundled.CHECKPOINTS", trunk.parent)
    told(replace(job, trunk="trunk", heads=True))
    assert job.out.stat().st_size < 60_000 < trunk.stat().st_size
    model = DualBranch.load(job.out)
    assert model.classes == CLASSES
    assert model.sigmoid is not None
    for refused in (replace(job, heads=True), replace(job, trunk="trunk", heads=True, stage1="finetune")):
        assert "save the whole model" in refusal(lambda asked=refused: told(asked))
