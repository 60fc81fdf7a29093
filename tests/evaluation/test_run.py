"""An evaluation end to end against slow formulas, and what it does with odd data, stops and options."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import reference as slow
import reference_metrics as ref
import reference_render
import torch
from PIL import Image
from toys import SIDE, C, counted, refusal, toy

from bsoftmax.data.sample import write_sample
from bsoftmax.evaluation import fidelity, plan
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate

CLASSES = tuple(f"class {k}" for k in range(C))
GRADIENTS = {
    "cam": slow.cam, "gradcam": slow.gradcam, "gradcam++": slow.gradcam_plus_plus, "xgradcam": slow.xgradcam,
    "layercam": slow.layercam, "hirescam": slow.hirescam,
}  # fmt: skip
SIZE = (30, 20)
SOURCES = ("softmax", "sigmoid")
BOXES = {0: [(3, 2, 20, 15)], 1: [(0, 0, 8, 8), (12, 6, 29, 19)]}  # of the n-th picture of every class


def picture(k, n):
    rng = np.random.default_rng([k, n])
    pixels = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE[1], SIZE[0], 3)), (0, 0), 2.0)
    x0, y0, x1, y1 = BOXES[n][-1]
    pixels[y0 : y1 + 1, x0 : x1 + 1, k % 3] += 90
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two pictures of each of the toy's classes, with boxes."""
    root = tmp_path_factory.mktemp("places")
    lines = ["path,x0,y0,x1,y1"]
    for k, name in enumerate(CLASSES):
        (root / name).mkdir()
        for n, boxes in BOXES.items():
            picture(k, n).save(root / name / f"{n}.png")
            lines += [f"{name}/{n}.png,{','.join(map(str, box))}" for box in boxes]
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def go(data, tmp_path, monkeypatch):
    """Evaluates a toy on the pictures: go(**options) -> results.json; `go.events` and `go.model` of the last run."""

    def run(folder="out", root=data, stop=lambda: False, **options):
        made = options.pop("model", None) or toy()
        monkeypatch.setattr(plan.zoo, "open_model", lambda *_: made)
        run.events, run.model = [], made
        asked = {"batch": 4, "rounds": 50, "cache": tmp_path / "cache", "device": "cpu"} | options
        done = evaluate(EvalRun(str(root), tmp_path / folder, **asked), run.events.append, stop)
        assert done == run.events[-1]
        return json.loads((tmp_path / folder / "results.json").read_text())

    return run


def kinds(events):
    return [event["event"] for event in events]


# --- against the formulas ---------------------------------------------------------------------------------------------


class Slowly:
    """Everything about one picture, from the papers: the toy is asked for F and logits only."""

    def __init__(self, model, k, n):
        self.model, self.label, self.n = model, k, n
        squeezed = picture(k, n).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        self.pixels = np.asarray(squeezed).transpose(2, 0, 1) / 255
        self.z = self.logits(self.pixels)
        self.predicted = int(np.argmax(self.z["softmax"]))
        self.heads = {
            head: [p.numpy() for p in getattr(model, head).parameters()] for head in ("softmax", "sigmoid")
        }  # fmt: skip

    def x(self, pixels):
        return torch.from_numpy((pixels - 0.5) / 0.5)[None]

    def logits(self, pixels):
        return {head: rows[0].numpy() for head, rows in self.model(self.x(pixels)).items()}

    def map(self, column, k, pixels):
        method, source, clamp = column
        F = self.model.trunk(self.x(pixels))[0][0].numpy()
        W, b = self.heads["sigmoid" if source == "sigmoid" else "softmax"]
        if source == "log-odds":
            z, shift = slow.logits(F, W, b), []
            for j in range(len(z)):  # d log-odds / d z_j
                others = [z[i] for i in range(len(z)) if i != k]
                shift.append(1.0 if j == k else -math.exp(z[j]) / sum(map(math.exp, others)))
            W = np.array(shift) @ W
            W, k = W[None], 0
        G = slow.gap_linear_gradient(F, W, k)
        return slow.evidence(GRADIENTS[method](F, G), F, clamp)

    def mask(self, column, k, pixels):
        S = slow.minmax(slow.relu(self.map(column, k, pixels)))
        return np.clip(reference_render.bicubic(S, (SIDE, SIDE)), 0, 1)

    def confidence(self, z, head, k):
        return ref.softmax(z[head].tolist(), k) if head == "softmax" else slow.sigmoid(z[head][k])

    def fidelity(self, column):
        k = self.predicted
        mask = self.mask(column, k, self.pixels)
        z = self.logits(self.pixels * mask)
        again = self.mask(column, k, self.pixels * mask)
        coherency = (
            0.0 if again.max() == again.min() or mask.max() == mask.min() else (ref.pearson(mask, again) + 1) * 50
        )
        out = {"coherency": coherency, "complexity": 100 * mask.sum() / mask.size}
        for ending, head in (("", "softmax"), (".own", "sigmoid" if column[1] == "sigmoid" else "softmax")):
            p, q = self.confidence(self.z, head, k), self.confidence(z, head, k)
            out[f"average_drop{ending}"] = 100 * max(0, p - q) / p
            out[f"increase{ending}"] = 100.0 * (q > p)
            out[f"average_gain{ending}"] = 100 * max(0, q - p) / (1 - p)
            parts = (coherency, 100 - out["complexity"], 100 - out[f"average_drop{ending}"])
            out[f"adcc{ending}"] = 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0
        S = self.map(column, k, self.pixels)
        return out | {"negative": 100 * (S < 0).mean(), "blank": 100.0 * (S <= 0).all()}

    def levels(self, column, mode):
        S = self.map(column, self.label, self.pixels)
        if mode == "bilinear":
            S = np.maximum(S, 0)
        fine = cv2.resize(S, (224, 224), interpolation=cv2.INTER_CUBIC if mode == "bicubic" else cv2.INTER_LINEAR)
        low, high = fine.min(), fine.max()
        return np.floor(255 * (fine - low) / (high - low) if high > low else 0 * fine).astype(np.uint8)

    @property
    def boxes(self):
        across, down = 224 / SIZE[0], 224 / SIZE[1]
        return [(int(a * across), int(b * down), int(c * across), int(d * down)) for a, b, c, d in BOXES[self.n]]


def columns_of(methods):
    return [(m, s, c) for m in methods for s in ("softmax", "sigmoid", "log-odds") for c in (False, True)]


def chosen_of(found, tmp_path):
    """(class, number) of the pictures that were drawn, from their names: class 3/1.png."""
    lines = (tmp_path / "out" / "records-0.jsonl").read_text().splitlines()[1:]
    return [(name[6], name[8]) for name in (json.loads(line)["image"] for line in lines)]


def test_fidelity_equals_the_papers_formulas(go, tmp_path):
    methods = ("gradcam", "gradcam++", "xgradcam", "layercam")
    found = go(methods=methods, metrics=("fidelity",), limit=5)
    images = [Slowly(go.model, *map(int, name)) for name in chosen_of(found, tmp_path)]
    assert [(c["method"], c["source"], c["clamp"]) for c in found["columns"]] == columns_of(methods)
    for column, ours in zip(columns_of(methods), found["columns"]):
        each = [image.fidelity(column) for image in images]
        for name in each[0]:
            expected = sum(one[name] for one in each) / len(each)
            assert ours["metrics"][name]["value"] == pytest.approx(expected, abs=2e-3), (column, name)
        assert ours["metrics"]["top1_cls"]["value"] == 100 * np.mean([i.predicted == i.label for i in images])


@pytest.mark.parametrize("protocol", ["standard", "official"])
def test_places_equal_the_benchmarks_procedure(go, protocol):
    methods = ("cam", "gradcam++")
    found = go(methods=methods, metrics=("localization",), protocol=protocol, sources=SOURCES, clamps=("paper",))
    images = [Slowly(go.model, k, n) for k in range(C) for n in BOXES]
    thresholds = [i * 0.001 for i in range(1001 if protocol == "official" else 1000)]
    columns = [(m, s, s == "sigmoid") for m in methods for s in SOURCES]
    assert [c["key"] for c in found["columns"]] == [f"{m}/{s}/{'on' if c else 'off'}" for m, s, c in columns]
    for column, ours in zip(columns, found["columns"]):
        mode = "bicubic" if protocol == "standard" or column[0] == "cam" else "bilinear"
        levels = [image.levels(column, mode) for image in images]
        annotations = [image.boxes for image in images]
        held = [t[:1] if protocol == "official" else t for t in annotations]
        hits = [ref.plain_ious(v, t, [0.2], False)[0] >= 0.5 for v, t in zip(levels, held)]
        right = [image.predicted == image.label for image in images]
        best = {bar: ref.plain_accuracy(levels, annotations, thresholds, True, bar) for bar in (0.3, 0.5, 0.7)}
        expected = {
            "gt_loc": 100 * np.mean(hits), "top1_loc": 100 * np.mean([a and b for a, b in zip(hits, right)]),
            "max_box_acc": ref.plain_accuracy(levels, annotations, thresholds, False, 0.5),
            "max_box_acc_v2": sum(best.values()) / 3,
        }  # fmt: skip
        for name, value in expected.items():
            assert ours["metrics"][name]["value"] == pytest.approx(value, abs=1e-9), (column, name)


def test_deletion_and_insertion_follow_the_ranking(go):
    found = go(methods=("cam",), sources=("softmax", "sigmoid"), metrics=("curves",), clamps=("off",))
    images = [Slowly(go.model, k, n) for k in range(C) for n in BOXES]
    for column, ours in zip((("cam", "softmax", False), ("cam", "sigmoid", False)), found["columns"]):
        ways = []
        for image in images:
            S = reference_render.bicubic(image.map(column, image.predicted, image.pixels), (SIDE, SIDE))
            blank = np.full_like(image.pixels, 0.5)
            steps = [ref.stage(blank, image.pixels, S.round(6).tolist(), round(i * SIDE**2 / 28)) for i in range(29)]
            answers = [image.logits(step) for step in steps]
            head = "sigmoid" if column[1] == "sigmoid" else "softmax"
            ways.append([image.confidence(z, head, image.predicted) for z in answers])
        np.testing.assert_allclose(ours["curves"]["deletion.own"], np.mean(ways, axis=0), atol=2e-3)
        area = np.mean([ref.trapezoids(way) for way in ways])
        assert ours["metrics"]["deletion.own"]["value"] == pytest.approx(area, abs=0.1)
        assert 0 < ours["metrics"]["insertion"]["value"] < 100
        assert len(ours["curves"]["insertion"]) == 29


def test_masks_give_pixel_average_precision_and_points(go, data, tmp_path):
    root = tmp_path / "masked"
    targets = {}
    for k, name in enumerate(CLASSES):
        for folder in (root / name, root / "masks" / name):
            folder.mkdir(parents=True)
        picture(k, 0).save(root / name / "0.png")
        mask = np.zeros(SIZE[::-1], dtype=np.uint8)
        mask[4:12, 5 + k : 20] = 255
        Image.fromarray(mask).save(root / "masks" / name / "0.png")
        targets[k] = cv2.resize(mask, (224, 224), interpolation=cv2.INTER_NEAREST) > 0
    found = go(root=root, methods=("cam",), sources=("softmax",), clamps=("off",), metrics=("localization",))
    (ours,) = found["columns"]
    scores, positive, points = [], [], []
    for k, target in targets.items():
        image = Slowly(go.model, k, 0)
        fine = cv2.resize(
            image.map(("cam", "softmax", False), k, image.pixels), (224, 224), interpolation=cv2.INTER_CUBIC
        )
        values = (fine - fine.min()) / (fine.max() - fine.min())
        scores.append(np.floor(values.ravel() * 1000) / 1000)
        positive.append(target.ravel())
        points.append(100.0 * target[np.unravel_index(values.argmax(), values.shape)])
    scores, positive = np.concatenate(scores), np.concatenate(positive)
    area, before = 0.0, 0.0
    for tau in [*(i / 1000 for i in range(1000)), 1.0][::-1]:
        chosen = positive[scores >= tau - 1e-9]
        if len(chosen):
            recall = chosen.sum() / positive.sum()
            area, before = area + chosen.mean() * (recall - before), recall
    assert ours["metrics"]["px_ap"]["value"] == pytest.approx(100 * area, abs=0.05)
    assert ours["metrics"]["pointing"]["value"] == np.mean(points)
    assert {"gt_loc", "max_box_acc"}.isdisjoint(ours["metrics"])
    curve = ours["curves"]["precision_recall"]
    assert curve["recall"][0] == 1
    assert curve["recall"] == sorted(curve["recall"], reverse=True)
    assert curve["precision"][0] == pytest.approx(positive.mean(), abs=1e-6)


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
    assert go.events[1] == {"event": "size", "passes": 2 * C * 7, "maps": 6}


# --- what is asked, what is there -------------------------------------------------------------------------------------


def test_events_in_their_order(go):
    go()
    said = kinds(go.events)
    assert said[:2] == ["data", "size"]
    assert said[-1] == "done"
    assert {"event": "progress", "done": 2 * C, "total": 2 * C} in go.events
    first, last = go.events[0], go.events[-1]
    assert (first["n"], first["split"], first["classes"], first["notes"]) == (2 * C, "all", list(CLASSES), [])
    assert (last["n"], last["complete"], last["stopped"], last["unreadable"]) == (2 * C, True, False, [])


def test_a_table_is_told_on_the_way_and_agrees_with_the_results(go, monkeypatch):
    monkeypatch.setattr("bsoftmax.evaluation.run.TABLE_SECONDS", 0.0)
    found = go()
    table = [event for event in go.events if event["event"] == "table"][-1]
    assert table["n"] == table["total"] == 2 * C
    for row, column in zip(table["rows"], found["columns"]):
        assert row["column"] == column["key"]
        assert row["metrics"].keys() == column["metrics"].keys()
        for name, value in row["metrics"].items():
            assert value == pytest.approx(column["metrics"][name]["value"], abs=1e-9)


def test_stop_keeps_what_was_measured_and_a_rerun_completes_it(go, tmp_path):
    whole = go("whole")
    asked = iter([False, False])
    part = go("part", stop=lambda: next(asked, True))
    assert (part["n"], part["asked"], part["complete"]) == (8, 10, False)
    assert go.events[-1]["stopped"] is True
    assert "Stopped early: 8 of 10" in (tmp_path / "part" / "results.md").read_text()
    assert go("part")["columns"] == whole["columns"]


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
    assert plan.sampled(images, 5, 3).counts() == [1] * C
    assert sorted(plan.sampled(images, 7, 3).counts()) == [1, 1, 1, 2, 2]


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


def test_protocol_is_complete(go):
    found = go()
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
