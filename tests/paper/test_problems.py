"""What is missing is said, what was cut short goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from toys import refusal, small_model

from bsoftmax.models import backbones
from bsoftmax.paper import published
from bsoftmax.paper.presets import cells, find_data
from bsoftmax.paper.reproduction import NOT_YET, reproduce
from bsoftmax.paper.side_by_side import build_table

# --- what is missing --------------------------------------------------------------------------------------------------


def alone(made, tmp_path, *names):
    """A root that has some of the data sets."""
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made / "root" / name, tmp_path / "root" / name)
    (tmp_path / "root").mkdir(exist_ok=True)
    return tmp_path / "root"


def test_a_missing_data_set_says_what_to_bring_and_the_rest_goes_on(asked, made, tmp_path):
    run = replace(asked("table1", backbones=("resnet50",)), root=alone(made, tmp_path, "CUB_200_2011"), out=tmp_path)
    events = []
    done = reproduce(run, events.append)
    assert done["problems"].keys() == {"cars-resnet50"}
    message = done["problems"]["cars-resnet50"]
    assert "cars_test_annos_withlabels.mat" in message
    assert "stanford_cars/" in message
    assert repr(str(run.root)) in message
    assert message.endswith(".")
    assert len(message) < 500
    assert {"event": "problem", "cell": "cars-resnet50", "message": message} in events
    for row in done["rows"]:
        assert (row["n"] is None) == (row["dataset"] == "cars")
        assert row["paper"]["baseline"] is not None
        assert row["dataset"] == "cub" or (set(row["here"].values()), row["note"]) == ({None}, message)
    rows = [line for line in (tmp_path / "table1.csv").read_text().splitlines() if line.startswith("cars,")]
    assert len(rows) == 10
    assert all("withlabels" in line for line in rows)


def test_missing_weights_say_which_file_to_bring(asked, tmp_path, monkeypatch):
    def offline(repo, file):
        raise OSError("offline")

    monkeypatch.setattr(backbones, "_from_hub", offline)
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "weights"))
    trunks = {name: path for name, path in asked("table1").trunks.items() if name != "vgg16"}
    done = reproduce(replace(asked("table1", trunks=trunks, datasets=("cub",)), out=tmp_path))
    assert done["problems"].keys() == {"cub-vgg16"}
    assert str(tmp_path / "weights" / "vgg16.tv_in1k.safetensors") in done["problems"]["cub-vgg16"]
    assert sum(row["n"] is None for row in done["rows"]) == 8  # four gradient methods, two metrics


def test_nothing_is_measured_on_the_images_it_was_trained_on(asked, made, tmp_path):
    """Stanford Cars without the labels of its test images; ImageNet without train."""
    root = alone(made, tmp_path, "stanford_cars", "imagenet")
    (root / "stanford_cars/devkit/cars_test_annos_withlabels.mat").unlink()
    shutil.rmtree(root / "imagenet/ILSVRC/Data/CLS-LOC/train")
    for table, data, missing in (("table1", "cars", "to measure"), ("table2", "imagenet", "to train on")):
        run = asked(table, datasets=(data,), backbones=("resnet50",))
        done = reproduce(replace(run, root=root, out=tmp_path / "out"))
        assert missing in done["problems"][f"{data}-resnet50"]
        assert all(row["n"] is None for row in done["rows"])
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_an_image_that_cannot_be_read_is_counted_out_and_named(asked, made, tmp_path):
    root = alone(made, tmp_path, "CUB_200_2011")
    broken = sorted((root / "CUB_200_2011/images").glob("001*/*"))[-1]
    broken.write_bytes(broken.read_bytes()[:-200])
    run = asked("table1", datasets=("cub",), backbones=("resnet50",))
    rows = reproduce(replace(run, root=root, out=tmp_path / "out"))["rows"]
    assert {(row["n"], row["note"]) for row in rows} == {(3, "counted out, as they cannot be read: 1 of 4 images")}
    results = json.loads((tmp_path / "out/cub-resnet50-fidelity-standard/results.json").read_text())
    found = {"cub-resnet50": {"training": {}, "standard": {**results, "complete": False, "asked": 9}}}
    stopped = build_table(published.TABLES["table1"], cells(run), found, ("standard",))
    assert {row["note"] for row in stopped["rows"]} == {
        "stopped early: 4 of 9 images were looked at; counted out, as they cannot be read: 1 of 4 images"
    }


def test_data_without_places_is_left_out_with_a_sentence(asked, made, tmp_path):
    root = alone(made, tmp_path, "metadata/OpenImages", "dataset/OpenImages")
    (root / "metadata/OpenImages/test/localization.txt").unlink()
    run = asked("table2", datasets=("openimages",), backbones=("resnet50",), protocols=("standard",))
    done = reproduce(replace(run, root=root, out=tmp_path / "out"))
    assert "no masks" in done["problems"]["openimages-resnet50"]


def test_data_is_found_by_its_makers_names_in_any_case(made, tmp_path):
    cub = published.CORPORA["cub"]
    (tmp_path / "cub").mkdir()
    assert find_data(tmp_path, cub) == tmp_path / "cub"
    (tmp_path / "CUB_200_2011").mkdir()
    assert find_data(tmp_path, cub) == tmp_path / "CUB_200_2011"
    assert find_data(made / "root", published.CORPORA["openimages"]) == made / "root/metadata/OpenImages"
    (tmp_path / "cars").write_text("a file")
    assert "stanford_cars" in refusal(lambda: find_data(tmp_path, published.CORPORA["cars"]))


@pytest.mark.parametrize(
    "options",
    [{"table": "table3"}, {"datasets": ("imagenet",)}, {"backbones": ("inception_v3",)}, {"protocols": ("own",)},
     {"limit": 0}, {"epochs": 0}, {"views": 0}, {"stage1_epochs": 0}, {"root": Path("nowhere")}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_at_once(asked, tmp_path, options):
    refusal(lambda: reproduce(replace(asked("table1"), out=tmp_path / "out", **options)))
    assert not (tmp_path / "out").exists()


# --- going on ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.fixture
def one(asked, tmp_path):
    """A single cell, in a folder of its own."""
    return replace(asked("table1", datasets=("cub",), backbones=("resnet50",), epochs=2), out=tmp_path / "out")


@pytest.mark.parametrize(("step", "kind"), [("train", "epoch"), ("train", "did"), ("measure, standard", "progress")])
def test_killed_anywhere_it_goes_on_to_the_same_table(one, tmp_path, step, kind):
    def die(event):
        if (event.get("step"), event["event"]) == (step, kind):
            raise Killed

    with pytest.raises(Killed):
        reproduce(one, die)
    whole = reproduce(replace(one, out=tmp_path / "whole"))
    assert reproduce(one)["rows"] == whole["rows"]
    assert not whole["problems"]


@pytest.mark.parametrize("where", ["softmax", "branch", "measure"])
def test_stopped_anywhere_it_says_so_and_goes_on(one, tmp_path, where):
    """What was stopped half-way is never taken for a trained model."""
    seen = []
    reached = lambda: any(e.get("stage") == where or e.get("step", "").startswith(where) for e in seen)
    done = reproduce(one, seen.append, reached)
    assert done["stopped"] is True
    assert done["problems"] == {"cub-resnet50": NOT_YET}
    assert all(row["n"] is None and row["note"] == NOT_YET for row in done["rows"])
    assert (one.out / "cub-resnet50.safetensors").exists() == (where == "measure")
    assert reproduce(one)["rows"] == reproduce(replace(one, out=tmp_path / "whole"))["rows"]


def test_models_of_other_options_are_not_taken_for_this_runs(one):
    assert not reproduce(one)["problems"]
    message = reproduce(replace(one, epochs=3))["problems"]["cub-resnet50"]
    assert "other options" in message
    assert "--out" in message


def test_a_model_that_was_brought_is_measured_and_named(one):
    one.out.mkdir()
    names = tuple(line.split()[1] for line in (one.root / "CUB_200_2011/classes.txt").read_text().splitlines())
    small_model(names).save(one.out / "cub-resnet50.safetensors")
    done = reproduce(one)
    found = json.loads((one.out / "table1.json").read_text())
    assert not done["problems"]
    assert found["cells"]["cub-resnet50"]["training"] == {"brought": "cub-resnet50.safetensors"}


def test_a_limit_measures_fewer_images_in_a_folder_of_its_own(one):
    assert {row["n"] for row in reproduce(replace(one, limit=2))["rows"]} == {2}
    assert {row["n"] for row in reproduce(one)["rows"]} == {4}
