"""The table of heads: its numbers, what is missing, killed runs, the files."""

from __future__ import annotations

import csv
import importlib
import json

import numpy as np
import pytest
import reference as ref
from slow_evaluation import write_pictures
from toys import C, counted, refusal, small_model, toy

from bsoftmax.gauge.survey import POPULAR, map_effect, survey, write
from bsoftmax.images.read import read_rgb
from bsoftmax.models import backbones, zoo

module = importlib.import_module("bsoftmax.gauge.survey")  # the package has the function under the same name


@pytest.fixture
def heads(monkeypatch):
    """Two networks by name: one with random rows, and one whose rows have much in common and whose biases are 2."""
    found = {"random": toy(branch=False), "common": toy(branch=False)}
    found["common"].softmax.weight += 3
    found["common"].softmax.bias.fill_(2)
    own = zoo.open_model
    monkeypatch.setattr(zoo, "open_model", lambda name: found.get(name) or own(name))
    return found


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = write_pictures(tmp_path_factory.mktemp("photographs"))
    return sorted(root.rglob("*.png"))[:3]


def test_a_row_is_the_class_mean_over_the_norm_of_a_row(heads, tmp_path):
    rows = {row["name"]: row for row in survey(list(heads), tmp_path / "out")["rows"]}
    for name, model in heads.items():
        W = model.softmax.weight.numpy()
        mean = [sum(row[i] for row in W) / len(W) for i in range(W.shape[1])]
        norm = np.sqrt(sum(float(row @ row) for row in W) / len(W))
        assert rows[name]["share"] == pytest.approx(np.sqrt(np.dot(mean, mean)) / norm)
        assert rows[name]["chance"] == pytest.approx(1 / np.sqrt(C))
    assert (rows["common"]["bias_mean"], rows["common"]["bias_std"]) == (2, 0)


def test_a_network_that_cannot_be_had_is_one_sentence_and_the_others_go_on(heads, tmp_path, monkeypatch):
    def offline(*_):
        raise OSError("offline")

    monkeypatch.setattr(backbones, "_from_hub", offline)
    events = []
    asked = ["resnet18.a1_in1k", "no_such_network", "random"]
    found = survey(asked, tmp_path / "out", events.append)
    assert [row["name"] for row in found["rows"]] == ["random"]
    reasons = {m["name"]: m["reason"] for m in found["missing"]}
    assert "could not be downloaded" in reasons["resnet18.a1_in1k"]
    assert reasons["no_such_network"].startswith("There is no trunk")
    assert all(reason.endswith(".") and "\n" not in reason for reason in reasons.values())
    assert [(e["done"], e["total"]) for e in events if e["event"] == "progress"] == [(1, 3), (2, 3), (3, 3)]


def test_a_killed_survey_goes_on_behind_its_last_whole_line(heads, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    stopped = survey(list(heads), out, stop=lambda: bool(seen) or seen.append(1))
    assert stopped["stopped"]
    assert len(stopped["rows"]) == 1
    with open(out / "records-0.jsonl", "ab") as file:
        file.write(b'{"i": "half a li')
    asked, own = [], module.measured
    monkeypatch.setattr(module, "measured", lambda name, images: asked.append(name) or own(name, images))
    found = survey(list(heads), out)
    assert asked == ["common"]
    assert found == survey(list(heads), out)
    assert asked == ["common"]
    assert not found["stopped"]


def test_other_weights_under_the_same_name_are_measured_again(tmp_path):
    path, shares = tmp_path / "m.safetensors", []
    model = small_model(("a", "b", "c"), branch=False)
    for _ in range(2):
        model.save(path)
        shares.append(survey([str(path)], tmp_path / "out")["rows"][0]["share"])
        model.softmax.weight += 3
    assert shares[1] > shares[0]


def test_a_survey_with_other_photographs_needs_another_folder(tmp_path, photographs):
    survey(["no_such_network"], tmp_path)
    assert "another folder" in refusal(lambda: survey(["no_such_network"], tmp_path, images=photographs))


def test_the_effect_is_that_of_the_class_mean_row_on_the_maps(photographs):
    """The toy's rows get much in common, against the features: all of its maps are blank, and none after centring."""
    model = toy(branch=False, double=False)
    model.softmax.weight -= 5
    with counted(model) as calls:
        found = map_effect(model, photographs)
    assert sum(calls) == len(photographs)
    W, correlations = model.softmax.weight.numpy(), []
    for path in photographs:
        x = model.preprocess(read_rgb(path))
        F, k = model.features(x)[0][0].numpy(), int(model(x)["softmax"].argmax())
        own, centred = (ref.evidence(rows[k], F) for rows in (W, ref.shift(W, ref.centring(W))))
        correlations.append(ref.spearman(own, centred))
        assert own.max() <= 0 < centred.max()
    assert found["spearman"] == pytest.approx(np.median(correlations))
    assert (found["blank"], found["blank_centred"], found["method"]) == (100, 0, "cam")


def test_no_photograph_no_effect():
    assert map_effect(toy(), ()) == {}


def test_the_files_have_every_row_and_say_what_is_missing(heads, tmp_path):
    found = survey([*heads, "no_such<b>"], tmp_path)
    written = {path.name: path.read_text() for path in write(found, tmp_path)}
    rows = json.loads(written["survey.json"])["rows"]
    assert [row["name"] for row in rows] == ["common", "random"]  # the largest share first
    table = list(csv.DictReader(written["survey.csv"].splitlines()))
    assert [float(row["share"]) for row in table] == [row["share"] for row in rows]
    lines = written["survey.md"].splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(heads)
    assert "no\\_such\\<b\\>" in written["survey.md"]


def test_the_default_networks_exist_and_have_weights():
    assert len(set(POPULAR)) == len(POPULAR) == 40
    for name in POPULAR:
        assert backbones.is_trunk(name)
        assert backbones.timm.get_pretrained_cfg(name).hf_hub_id
