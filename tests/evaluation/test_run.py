"""An evaluation end to end: what it costs, and what it does with odd data, stops and options."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from slow_evaluation import BOXES, CLASSES, Slowly, columns_of, picture
from toys import C, counted, refusal, toy

from bsoftmax.cams import METHODS, rise
from bsoftmax.data.sample import write_sample
from bsoftmax.evaluation import fidelity, plan
from bsoftmax.reports import write
from bsoftmax.reports.verdict import unfinished


def kinds(events):
    return [event["event"] for event in events]


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_the_trunk_runs_once_an_image_and_once_a_distinct_mask(go):
    model, methods = toy(), ("cam", "gradcam", "gradcam++", "layercam")
    with counted(model) as calls:
        go(model=model, methods=methods)
    masks = 0
    for image in (Slowly(model, k, n) for k in range(C) for n in BOXES):
        seen = []
        for column in columns_of(methods):
            mask = image.mask(column, image.predicted, image.pixels)
            seen += [mask] if all(abs(mask - other).max() > 1e-4 for other in seen) else []
        masks += len(seen)
    assert sum(calls) == 1 + 2 * C + masks  # one to learn the size of the maps


def test_columns_of_one_map_are_measured_once_and_say_so(go):
    found = go(methods=("cam", "gradcam", "layercam"), metrics=("fidelity",))
    by = {c["key"]: c for c in found["columns"]}
    assert by["gradcam/sigmoid/on"]["same_as"] == by["layercam/sigmoid/off"]["same_as"] == "cam/sigmoid/on"
    assert by["layercam/sigmoid/on"]["metrics"] == by["cam/sigmoid/on"]["metrics"]
    assert by["cam/sigmoid/on"]["same_as"] is None
    assert go.events[1] == {"event": "size", "passes": 2 * C * 9, "maps": 8}


def test_maps_at_pixels_are_measured_beside_those_of_the_grid_and_have_no_clamp(go, monkeypatch, tmp_path):
    monkeypatch.setattr(rise, "MASKS", 3)
    sources, metrics = ("softmax", "sigmoid"), ("localization", "fidelity", "curves")
    found = go(methods=("gradcam", "rise", "saliency"), sources=sources, metrics=metrics, limit=2)
    by = {c["key"]: c["metrics"] for c in found["columns"]}
    assert {key for key in by if key.startswith(("rise", "saliency"))} == {
        f"{method}/{source}/off" for method in ("rise", "saliency") for source in sources
    }
    assert by["rise/sigmoid/off"].keys() == by["gradcam/sigmoid/off"].keys()
    assert by["rise/softmax/off"]["deletion"] != by["rise/sigmoid/off"]["deletion"]
    passes = 1 + 8 + 8 * 2 * 29 + 2 * (2 * METHODS["rise"].passes + 2 * METHODS["saliency"].passes)
    assert go.events[1] == {"event": "size", "passes": 2 * passes, "maps": 8}
    asked = {c["question"] for c in found["contrasts"] if c["method"] == "saliency"}
    assert asked == {"the training alone: branch, softmax, neither clamped"}
    assert "Saliency" in "".join(path.read_text() for path in map(Path, write(found, tmp_path)) if path.suffix == ".md")


# --- what is asked, what is there -------------------------------------------------------------------------------------


def test_events_in_their_order(whole):
    _, events = whole
    said = kinds(events)
    assert said[:2] == ["data", "size"]
    assert said[-1] == "done"
    assert {"event": "progress", "done": 2 * C, "total": 2 * C} in events
    first, last = events[0], events[-1]
    assert (first["n"], first["split"], first["classes"], first["notes"]) == (2 * C, "all", list(CLASSES), [])
    assert (last["n"], last["complete"], last["stopped"], last["unreadable"]) == (2 * C, True, False, [])


def test_a_table_is_told_on_the_way_and_agrees_with_the_results(whole):
    found, events = whole
    table = [event for event in events if event["event"] == "table"][-1]
    assert table["n"] == table["total"] == 2 * C
    for row, column in zip(table["rows"], found["columns"]):
        assert row["column"] == column["key"]
        assert row["metrics"].keys() == column["metrics"].keys()
        for name, value in row["metrics"].items():
            assert value == pytest.approx(column["metrics"][name]["value"], abs=1e-9)


def test_stop_keeps_what_was_measured_and_a_rerun_completes_it(go, whole):
    asked = iter([False, False])
    part = go("part", stop=lambda: next(asked, True))
    assert (part["n"], part["asked"], part["complete"]) == (8, 10, False)
    assert go.events[-1]["stopped"] is True
    assert "Stopped early: 8 of 10" in unfinished(part)
    assert go("part")["columns"] == whole[0]["columns"]


def test_stopped_before_anything_is_one_sentence(go):
    assert "None of the 10 images" in refusal(lambda: go(stop=lambda: True))


def test_records_of_another_run_are_not_mixed_in(go):
    go(metrics=("fidelity",))
    assert "another folder" in refusal(lambda: go(metrics=("fidelity",), methods=("cam",)))
    assert go(metrics=("fidelity",), rounds=60)["rounds"] == 60  # the records are the same


def test_a_corrupt_picture_is_listed_and_counted_out(go, data, tmp_path):
    root = tmp_path / "broken"
    for k, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for n in BOXES:
            picture(k, n).save(root / name / f"{n}.png")
    bad = root / CLASSES[1] / "0.png"
    bad.write_bytes(bad.read_bytes()[:-400])
    found = go(root=root, metrics=("fidelity",))
    assert (found["n"], found["complete"]) == (2 * C - 1, True)
    ((name, why),) = found["unreadable"]
    assert name == "class 1/0.png"
    assert why.endswith(".")
    assert found["columns"][0]["metrics"]["average_drop"]["n"] == 2 * C - 1
    bad.unlink()
    without = go("without", root=root, metrics=("fidelity",))
    drops = [f["columns"][0]["metrics"]["average_drop"]["value"] for f in (found, without)]
    assert drops[0] == pytest.approx(drops[1], abs=1e-6)


def test_pictures_whose_features_are_not_finite_are_counted_out(go):
    model = toy()
    forward, passes = model.trunk.forward, []

    def blown(x):
        F, tokens = forward(x)
        passes.append(len(x))
        if passes[:2] == [1, 4] and len(passes) == 2:  # the second picture, in the pass after that for the maps' size
            F[1] = torch.nan
        return F, tokens

    model.trunk.forward = blown
    found = go(model=model, metrics=("fidelity",))
    assert found["n"] == 2 * C - 1
    assert "finite" in found["unreadable"][0][1]


def test_a_set_without_places_goes_on_with_fidelity(go, tmp_path):
    root = tmp_path / "plain"
    for k, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        picture(k, 0).save(root / name / "0.png")
    found = go(root=root)
    assert "localisation is left out" in found["notes"][0]
    assert "gt_loc" not in found["columns"][0]["metrics"]
    assert "boxes" in refusal(lambda: go("b", root=root, metrics=("localization",)))


def test_classes_the_model_does_not_know(go, tmp_path):
    root = tmp_path / "foreign"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        picture(0, 0).save(root / name / "0.png")
    found = go(root=root, metrics=("fidelity",))
    assert "classes are not those" in found["notes"][0]
    assert "top1_cls" not in found["columns"][0]["metrics"]
    assert "accuracy" in found["notes"][0]
    assert "alike" in refusal(lambda: go("c", root=root, explain="true", metrics=("fidelity",)))


def test_a_limit_is_drawn_class_by_class_and_repeats(go, data):
    names = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        found = go(folder, limit=5, seed=seed, metrics=("fidelity",))
        assert found["n"] == found["asked"] == found["data"]["images"] == 5
        names.append(found["data"]["fingerprint"])
    assert names[0] == names[1] != names[2]
    images = plan.layouts.read_data(data, data).splits["all"]
    assert plan.subsample(images, 5, 3).counts() == [1] * C
    assert sorted(plan.subsample(images, 7, 3).counts()) == [1, 1, 1, 2, 2]


def test_bfloat16_is_an_option_and_says_so(go):
    exact, rough = (
        go("a", metrics=("fidelity",)),
        go("b", metrics=("fidelity",), precision="bfloat16", model=toy(double=False)),
    )
    assert (exact["protocol"]["precision"], rough["protocol"]["precision"]) == ("float32", "bfloat16")
    assert exact["model"]["map_size"] == [4, 4]
    a, b = (f["columns"][0]["metrics"]["complexity"]["value"] for f in (exact, rough))
    assert a != b
    assert a == pytest.approx(b, abs=2)


BAD = {
    "protocol": {"protocol": "other"},
    "metrics": {"metrics": ("speed",)},
    "no metrics": {"metrics": ()},
    "method": {"methods": ("nocam",)},
    "source": {"sources": ("tanh",)},
    "clamp": {"clamps": ("half",)},
    "split": {"split": "test"},
    "limit": {"limit": 0},
    "batch": {"batch": 0},
    "explain": {"explain": "mine"},
    "precision": {"precision": "int8"},
    "branch": {"sources": ("sigmoid",), "model": "softmax only"},
    "method of another head": {"methods": ("cam",), "model": "mlp"},
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_options_are_one_sentence(go, bad, tmp_path):
    options = dict(BAD[bad])
    models = {"softmax only": lambda: toy(branch=False), "mlp": lambda: toy("mlp")}
    if "model" in options:
        options["model"] = models[options["model"]]()
    refusal(lambda: go(**options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("head", ["mlp", "token", "norm"])
def test_other_heads_are_measured_by_what_they_allow(go, head):
    found = go(model=toy(head), limit=2, metrics=("fidelity",))
    methods = {c["method"] for c in found["columns"]}
    assert "cam" not in methods
    assert "scorecam" not in methods
    assert {"gradcam", "eigencam"} <= methods


def test_a_class_free_method_is_one_column(go):
    found = go(methods=("eigencam",), metrics=("fidelity",))
    assert [c["key"] for c in found["columns"]] == ["eigencam/softmax/off"]
    assert found["columns"][0]["baseline"] is None


def test_the_sample_set_can_be_measured(go, tmp_path):
    root = write_sample(tmp_path / "sample", 1, 40)
    found = go(root=root, explain="predicted", methods=("cam",), limit=4)
    names = found["columns"][0]["metrics"].keys()
    assert {"gt_loc", "px_ap", "pointing", "average_drop"} <= names
    assert "top1_loc" not in names
    assert found["data"]["split"] == "val"


def test_protocol_is_complete(whole):
    found, _ = whole
    protocol = found["protocol"]
    assert protocol["explained"] == {"localization": "true", "fidelity": "predicted"}
    assert protocol["fidelity"] == fidelity.RULES
    for key in ("tau", "iou", "ious", "thresholds", "box", "interpolation", "normalisation", "size", "any_box"):
        assert key in protocol["places"]
    for key in ("layer", "map_size", "frozen_sha256", "sigmoid_sha256", "file_sha256"):
        assert key in found["model"]
    assert {"torch", "torchvision", "timm", "numpy", "python", "bsoftmax"} <= found["versions"].keys()
    assert len(found["data"]["fingerprint"]) == 64
    assert (found["seed"], found["rounds"]) == (0, 50)
