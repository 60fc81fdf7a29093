"""A branch for a pretrained head from few photographs: whose labels, the file, the command, train --init gauge."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import coloured, counted, refusal, small_model

from bsoftmax.cli.main import main
from bsoftmax.models import zoo
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.gauge import Gauge
from bsoftmax.training import calibration
from bsoftmax.training.calibration import CalibrationRun, calibrate, judged
from bsoftmax.training.vectors import Vectors

COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A model of three classes without a branch."""
    return str(small_model(COLOURS, branch=False).save(tmp_path_factory.mktemp("model") / "m.safetensors"))


@pytest.fixture
def run(model_file, tmp_path):
    """A calibration on three colours, in folders of the model's classes."""
    data = coloured(tmp_path / "data", {"all": 4}) / "all"
    return CalibrationRun(str(data), tmp_path / "out.safetensors", tmp_path / "cache", model_file, views=2, rank=2)


def test_the_branch_is_the_gauge_of_the_head_and_reads_back(run):
    events = []
    done = calibrate(run, events.append)
    model = DualBranch.load(run.out)
    expected = model.gauge.applied(model.softmax)
    assert torch.equal(model.sigmoid.weight, expected.weight)
    assert model.gauge.left.shape == (3, 2)
    assert model.spec.training["sigmoid"]["data"]["train"]["labels"] == "folders"
    assert [e["labels"] for e in events if e["event"] == "data"] == ["folders"]
    before, after = done["metrics"]["fit"]["softmax"], done["metrics"]["fit"]["sigmoid"]
    assert after["eq12"] < before["eq12"]
    assert run.out.with_suffix(".md").read_text().startswith("---")


def test_every_photograph_passes_the_trunk_once_a_view(run, monkeypatch):
    model = zoo.open_model(run.model)
    monkeypatch.setattr(zoo, "open_model", lambda *a: model)
    with counted(model) as calls:
        calibrate(run)
    assert sum(calls) == 12 * run.views
    with counted(model) as calls:
        calibrate(replace(run, rank=0))
    assert sum(calls) == 0


@pytest.mark.parametrize("labels", ["auto", "head"])
def test_photographs_without_classes_are_labelled_by_the_head(run, labels, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for n, path in enumerate(sorted((tmp_path / "data").rglob("*.png"))):
        path.rename(flat / f"{n}.png")
    seen = []
    calibrate(replace(run, images=str(flat), labels=labels, rank=0), seen.append)
    assert [e["labels"] for e in seen if e["event"] == "data"] == ["head"]
    made = DualBranch.load(run.out)
    assert made.spec.metrics["fit"]["softmax"]["top1"] == 100
    assert made.gauge.left.shape[1] == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": "folders", "images": "other"}, "named as classes of"),
        ({"images": "nowhere"}, "There is no folder"),
        ({"images": "empty"}, "There are no photographs"),
        ({"labels": "mine"}, "There are no labels 'mine'"),
        ({"rank": -1}, "rank of at least 0"),
        ({"views": 0}, "at least 1 view"),
        ({"heads": True}, "save the whole model"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(run, changes, expected, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("x", "y"):
        source = next((tmp_path / "data").rglob("*.png"))
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "0.png").write_bytes(source.read_bytes())
    if "images" in changes:
        changes = {**changes, "images": str(tmp_path / changes["images"])}
    said = refusal(lambda: calibrate(replace(run, **changes)))
    assert expected in said
    assert not run.out.exists()


def test_numbers_of_a_branch_by_hand():
    h = torch.tensor([[[2.0, 1.0], [1.0, 3.0], [-1.0, -2.0]]])
    branch = torch.nn.Linear(2, 2, bias=False)
    branch.weight.data = torch.eye(2)
    got = judged(branch, Vectors.of(h, torch.tensor([0, 0, 1])))
    # logits (2, 1), (1, 3), (-1, -2): ranks 1, 2, 2; the true one above 0 twice; 2, 2 and 0 classes above 0
    assert got["top1"] == pytest.approx(100 / 3)
    assert got["rank"] == pytest.approx(5 / 3)
    assert got["true_found"] == pytest.approx(200 / 3)
    assert got["classes_found"] == pytest.approx(4 / 3)
    assert got["none_found"] == pytest.approx(100 / 3)


def test_training_may_begin_from_the_gauge(model_file, tmp_path, capsys):
    data, out = coloured(tmp_path / "data", {"train": 6, "val": 3}), tmp_path / "out.safetensors"
    words = ["train", str(data), "--model", model_file, "--init", "gauge", "--out", str(out), "--cache", str(tmp_path)]
    assert main(words) == 0
    model = DualBranch.load(out)
    assert isinstance(model.gauge, Gauge)
    assert model.spec.training["sigmoid"]["method"] == calibration.METHOD
    assert model.spec.training["sigmoid"]["config"]["init"] == "gauge"


def test_the_command_fits_and_says_what_it_reached(run, capsys):
    words = ["calibrate", run.model, "--images", run.images, "--out", str(run.out), "--cache", str(run.cache)]
    assert main([*words, "--views", "1", "--rank", "0"]) == 0
    said = capsys.readouterr().out
    assert "12 photographs, classes from their folders" in said
    assert "fitted to" in said
    assert DualBranch.load(run.out).spec.training["command"][:2] == ["bsoftmax", "calibrate"]
    assert main([*words[:-4], "--out", "x.pt"]) == 2
