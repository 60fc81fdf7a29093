"""An evaluation end to end against slow formulas."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import reference_metrics as ref
import reference_render
from PIL import Image
from slow_evaluation import BOXES, CLASSES, SIZE, Slowly, columns_of, picture
from toys import SIDE, C

SOURCES = ("softmax", "sigmoid")


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
        best = ref.plain_accuracies(levels, annotations, thresholds, True, (0.3, 0.5, 0.7))
        expected = {
            "gt_loc": 100 * np.mean(hits), "top1_loc": 100 * np.mean([a and b for a, b in zip(hits, right)]),
            "max_box_acc": ref.plain_accuracies(levels, annotations, thresholds, False, (0.5,))[0],
            "max_box_acc_v2": sum(best) / 3,
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
