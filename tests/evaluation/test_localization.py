"""Places by eye on small maps, after the benchmark's conventions, and against a plain evaluator."""

import json

import cv2
import numpy as np
import pytest
import reference_metrics as ref
import reference_render
import torch
from PIL import Image
from toys import refusal

from bsoftmax.data.sets import Annotation
from bsoftmax.evaluation import localization as loc
from bsoftmax.evaluation.metrics import max_box_acc, max_box_acc_v2, px_ap

STANDARD, OFFICIAL = loc.protocol("standard"), loc.protocol("official")
AUTHORS = [i * 0.001 for i in range(1001)]


def drawn(text):
    """A map of levels from a drawing: '.' is 0, '#' is 255, digits are tenths of 255."""
    value = {".": 0, "#": 255} | {str(d): d * 255 // 10 for d in range(1, 10)}
    return np.array([[value[c] for c in line] for line in text.split()], dtype=np.uint8)


def smooth(seed, side=24, sigma=1.0):
    values = np.random.default_rng(seed).normal(size=(side, side))
    return loc.quantise(loc.scale(cv2.GaussianBlur(values, (0, 0), sigma), side))


BLOCK = drawn("""
..........
..........
...####...
...####...
...####...
..........""")
RING = drawn("""
............
.#########..
.#########..
.##.....##..
.##.....##..
.##.....##..
.##.....##..
.#########..
.#########..
............""")
TWO = drawn("""
####......
####......
####......
..........
......##..
......##..""")


@pytest.mark.parametrize(
    ("levels", "largest", "every"),
    [
        (BLOCK, (3, 2, 7, 5), [(3, 2, 7, 5)]),  # pixels 3 to 6, 2 to 4: one more at the far ends
        (RING, (1, 1, 10, 9), [(1, 1, 10, 9), (2, 2, 9, 8)]),  # the hole's contour runs through the ring
        (TWO, (0, 0, 4, 3), [(0, 0, 4, 3), (6, 4, 8, 5)]),  # the far end is clipped at the last row
        (drawn(".... .... ..#. ...."), (2, 2, 3, 3), [(2, 2, 3, 3)]),  # a point
        (drawn(".... .### .... ...."), (1, 1, 3, 2), [(1, 1, 3, 2)]),  # a line that touches the edge
        (drawn("#... .#.. ..#. ...#"), (0, 0, 3, 3), [(0, 0, 3, 3)]),  # corners connect
        (np.zeros((5, 5), np.uint8), (0, 0, 0, 0), [(0, 0, 0, 0)]),  # empty
        (np.full((5, 5), 90, np.uint8), (0, 0, 4, 4), [(0, 0, 4, 4)]),  # a constant above its own fifth
    ],
)
def test_boxes_by_eye(levels, largest, every):
    assert loc.boxes(levels, 0.2).tolist() == [list(largest)]
    assert {tuple(box) for box in loc.boxes(levels, 0.2, every=True).tolist()} == set(every)
    assert loc.boxes(levels, 1.0).tolist() == [[0, 0, 0, 0]]  # nothing is above the maximum


def test_the_threshold_is_a_whole_level_and_strict():
    levels = np.zeros((6, 6), np.uint8)
    levels[1, 1] = 255
    levels[1, 2], levels[1, 3] = 52, 51  # int(0.2 * 255) = 51
    assert loc.boxes(levels, 0.2).tolist() == [[1, 1, 3, 2]]


def test_of_equal_areas_one_is_chosen_and_both_are_candidates():
    levels = drawn("###.... ###.... ###.... ....### ....### ....###")
    pair = {(0, 0, 3, 3), (4, 3, 6, 5)}
    assert {tuple(b) for b in loc.boxes(levels, 0.2, every=True).tolist()} == pair
    (one,) = loc.boxes(levels, 0.2).tolist()
    assert tuple(one) in pair
    assert one == list(ref.plain_boxes(levels, 0.2, every=False)[0])


@pytest.mark.parametrize("seed", range(4))
def test_boxes_equal_regions_filled_by_hand(seed):
    """No OpenCV in the reference: every level of a rough map, its contours as a set, the largest by area."""
    levels = smooth(seed, side=12, sigma=0.6)
    found = loc.sweep(levels)
    for level in range(256):
        every, largest = ref.contour_boxes(levels > level)
        ours = found.boxes[found.start[level] : found.start[level + 1]]
        assert sorted(map(tuple, ours.tolist())) == sorted(every)
        assert tuple(found.boxes[found.largest[level]].tolist()) in largest


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("levels", [smooth(7), smooth(8, sigma=3), RING, TWO, np.zeros((9, 9), np.uint8)])
def test_every_threshold_equals_the_plain_evaluator(levels, multi):
    truth = np.array([[2, 1, 8, 6], [3, 3, 5, 5]])
    found = loc.sweep(levels)
    levels_of = loc.at_thresholds(found.top, OFFICIAL)
    ours = loc.curve(found, truth, multi)[levels_of].tolist()
    assert ours == ref.plain_ious(levels, truth.tolist(), AUTHORS, multi)
    assert levels_of[:1000].tolist() == loc.at_thresholds(found.top, STANDARD).tolist()
    assert loc.curve(levels, truth, multi).tolist() == loc.curve(found, truth, multi).tolist()


def test_levels_of_thresholds():
    assert np.unique(loc.at_thresholds(255, STANDARD)).tolist() == list(range(255))
    assert loc.at_thresholds(255, OFFICIAL)[-1] == 255
    for tau, level in zip(np.arange(0, 1, 0.001), loc.at_thresholds(213, STANDARD)):
        assert level == int(tau * 213)


def test_iou_counts_pixels():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 9, (2, 12, 2)), axis=0)
    boxes = np.concatenate([corners[0], corners[1]], axis=1)
    expected = [[ref.iou(a, b) for b in boxes.tolist()] for a in boxes.tolist()]
    np.testing.assert_array_equal(loc.iou(boxes, boxes), expected)


def truth_at(*boxes, size=(24, 24)):
    return Annotation(size, tuple(tuple(map(float, box)) for box in boxes))


def test_a_map_that_is_the_box_scores_everything():
    values = np.zeros((24, 24))
    values[5:15, 4:12] = 1
    truth = truth_at((4, 5, 12, 15))
    numbers, hits = loc.score_boxes(loc.quantise(values), truth, True, STANDARD)
    assert numbers == {"top1_cls": 100, "gt_loc": 100, "top1_loc": 100}
    assert hits[:, :255].all()
    assert not hits[:, 255].any()  # above the maximum is nothing
    assert loc.pointing(values, loc.true_pixels(truth, 24)) == 100


def test_the_head_must_be_right_for_top1_loc():
    numbers, _ = loc.score_boxes(smooth(0), truth_at((0, 0, 23, 23)), False, STANDARD)
    assert numbers == {"top1_cls": 0, "gt_loc": numbers["gt_loc"], "top1_loc": 0}


def test_any_box_counts_by_the_standard_and_the_first_by_the_authors():
    values = np.zeros((24, 24))
    values[14:20, 12:20] = 1
    first, second = (1, 1, 6, 6), (12, 14, 20, 20)
    for boxes, official in (((first, second), 0), ((second, first), 100)):
        standard, hits = loc.score_boxes(loc.quantise(values), truth_at(*boxes), True, STANDARD)
        authors, theirs = loc.score_boxes(loc.quantise(values), truth_at(*boxes), True, OFFICIAL)
        assert (standard["gt_loc"], authors["gt_loc"]) == (100, official)
        np.testing.assert_array_equal(hits, theirs)  # MaxBoxAcc takes any box in both


@pytest.mark.parametrize("rule", [STANDARD, OFFICIAL])
def test_sets_equal_the_plain_evaluator(rule):
    maps = [smooth(n, sigma=2) for n in range(5)] + [np.zeros((24, 24), np.uint8)]
    annotations = [truth_at((2, 3, 4 + 3 * n, 20), (5, 5, 9, 23)) for n in range(6)]
    rows = [loc.score_boxes(m, t, True, rule)[1] for m, t in zip(maps, annotations)]
    sums = np.sum(rows, axis=0)
    boxes = [loc.true_boxes(t, 24).tolist() for t in annotations]
    thresholds = AUTHORS[: rule.thresholds]
    one = ref.plain_accuracies(maps, boxes, thresholds, False, (0.5,))[0]
    every = ref.plain_accuracies(maps, boxes, thresholds, True, (0.3, 0.5, 0.7))
    assert max_box_acc(sums, 6, rule) == pytest.approx(one, abs=1e-12)
    assert max_box_acc_v2(sums, 6, rule) == pytest.approx(sum(every) / 3, abs=1e-12)


def test_true_boxes_are_scaled_and_truncated():
    truth = Annotation((500, 375), ((10.0, 20.0, 499.0, 374.0), (0.0, 0.0, 3.0, 3.0)))
    assert loc.true_boxes(truth, 224).tolist() == [[4, 11, 223, 223], [0, 0, 1, 1]]


@pytest.mark.parametrize("boxes", [(), ((5.0, 0.0, 4.0, 3.0),), ((-1.0, 0.0, 4.0, 3.0),), ((0.0, 0.0, np.nan, 3.0),)])
def test_boxes_that_are_none_are_refused(boxes):
    assert "boxes" in refusal(lambda: loc.true_boxes(Annotation((9, 9), boxes)))


def test_scale_is_interpolate_then_minmax():
    S = np.random.default_rng(3).normal(size=(5, 5))
    for mode, slow in (("bicubic", reference_render.bicubic), ("bilinear", reference_render.bilinear)):
        for rectify in (False, True):
            fine = slow(np.maximum(S, 0) if rectify else S, (16, 16))
            expected = (fine - fine.min()) / (fine.max() - fine.min())
            np.testing.assert_allclose(loc.scale(S, 16, mode, rectify), expected, atol=2e-6)
    np.testing.assert_array_equal(loc.scale(torch.from_numpy(S), 16), loc.scale(S, 16))


def test_levels_are_rounded_down():
    values = np.array([[0, 1, 0.999999], [1 / 255, 0.9999 / 255, 0.5]])
    assert loc.quantise(values).tolist() == [[0, 255, 254], [1, 0, 127]]
    levels = loc.heat(np.random.default_rng(0).normal(size=(7, 7)))
    assert (levels.shape, levels.dtype, levels.min(), levels.max()) == ((224, 224), np.uint8, 0, 255)


@pytest.mark.parametrize("value", [0.0, -3.0, 7e-9, 1e30])
@pytest.mark.parametrize("rectify", [False, True])
def test_constant_maps_are_empty(value, rectify):
    levels = loc.heat(np.full((14, 14), value), rectify=rectify)
    assert not levels.any()
    assert loc.boxes(levels, 0.2).tolist() == [[0, 0, 0, 0]]


def test_maps_that_are_none_are_refused():
    S = np.zeros((14, 14))
    S[3, 3] = np.nan
    assert "NaN" in refusal(lambda: loc.heat(S))
    assert "NaN" in refusal(lambda: loc.quantise(S))
    assert "NaN" in refusal(lambda: loc.pixel_counts(S, np.ones((14, 14), np.uint8)))
    assert "NaN" in refusal(lambda: loc.pointing(S, np.ones((14, 14), np.uint8)))
    assert "one map" in refusal(lambda: loc.heat(np.zeros((2, 14, 14))))
    assert "[0, 1]" in refusal(lambda: loc.quantise(np.array([[0, 1.01]])))
    assert "tau" in refusal(lambda: loc.boxes(BLOCK, 1.01))
    assert "255" in refusal(lambda: loc.score_boxes(BLOCK // 2, truth_at((1, 1, 2, 2)), True, STANDARD))
    assert "official" in refusal(lambda: loc.protocol("offical"))


def test_protocols_are_json_and_say_how_maps_are_made():
    for name, rule in loc.PROTOCOLS.items():
        back = json.loads(json.dumps(rule.asdict()))
        assert (back["name"], back["tau"], back["iou"], back["ious"]) == (name, 0.2, 0.5, [0.3, 0.5, 0.7])
    assert (STANDARD.thresholds, OFFICIAL.thresholds) == (1000, 1001)
    assert STANDARD.steps("gradcam") == STANDARD.steps("cam") == {"mode": "bicubic", "rectify": False}
    assert OFFICIAL.steps("cam") == {"mode": "bicubic", "rectify": False}
    assert OFFICIAL.steps("gradcam++") == {"mode": "bilinear", "rectify": True}


def write(path, grid):
    Image.fromarray((255 * np.array(grid, dtype=np.uint8)).astype(np.uint8)).save(path)
    return path


def test_masks_are_united_and_ignored_is_what_no_mask_has(tmp_path):
    first = write(tmp_path / "a.png", [[1, 0, 0, 0]] * 4)
    second = write(tmp_path / "b.png", [[0, 1, 0, 0]] * 4)
    ignore = write(tmp_path / "i.png", [[0, 1, 1, 0]] * 4)
    truth = Annotation((4, 4), masks=(first, second), ignore=ignore)
    assert loc.true_pixels(truth, 4).tolist() == [[1, 1, 255, 0]] * 4
    np.testing.assert_array_equal(loc.true_pixels(truth, 8), np.kron([[1, 1, 255, 0]] * 4, np.ones((2, 2))))
    assert loc.true_pixels(truth, 2).tolist() == [[1, 255]] * 2  # nearest: every other pixel, from the first
    gone = Annotation((4, 4), masks=(tmp_path / "none.png",))
    assert "none.png" in refusal(lambda: loc.true_pixels(gone, 4))
    assert "boxes" in refusal(lambda: loc.true_pixels(Annotation((4, 4)), 4))


def test_without_masks_the_boxes_are_the_object():
    pixels = loc.true_pixels(Annotation((8, 4), ((2.0, 0.0, 5.0, 1.0),)), 4)
    assert pixels.tolist() == [[0, 1, 1, 0]] * 2 + [[0] * 4] * 2  # both ends are inside


def test_pixel_precision_by_hand():
    """Scores 1, 0.5, 0.5, 0, of which the first and one of the halves are the object: 1/2 + 2/3 * 1/2."""
    counts = loc.pixel_counts(np.array([[1, 0.5], [0.5, 0]]), np.array([[1, 1], [0, 0]], np.uint8))
    assert counts.shape == (2, 1002)
    assert counts.sum(1).tolist() == [2, 2]
    assert px_ap(counts) == pytest.approx(100 * (1 / 2 + 2 / 3 / 2))


def test_pixel_precision_equals_the_slow_one_and_leaves_out_what_is_ignored():
    rng = np.random.default_rng(0)
    maps = [np.round(loc.scale(rng.normal(size=(4, 4)), 9), 3) for _ in range(3)]  # scores on bin edges, too
    targets = [rng.choice([0, 1, 255], (9, 9)).astype(np.uint8) for _ in maps]
    counts = sum(loc.pixel_counts(m, t) for m, t in zip(maps, targets))
    kept = [(s, t == 1) for m, goal in zip(maps, targets) for s, t in zip(m.ravel(), goal.ravel()) if t != 255]
    assert px_ap(counts) == pytest.approx(ref.pixel_ap(*zip(*kept)), abs=1e-9)
    histogram = np.histogram(maps[0][targets[0] == 1], bins=np.append(np.arange(0, 1, 0.001), [1, 2, 3]))[0]
    np.testing.assert_array_equal(loc.pixel_counts(maps[0], targets[0])[0], histogram)


def test_pointing_by_hand():
    target = (drawn(".... .##. .##. ....") > 0).astype(np.uint8)
    values = np.zeros((4, 4))
    values[1, 1] = 1
    assert loc.pointing(values, target) == 100
    values[0, 0] = 1
    assert loc.pointing(values, target) == 50  # two maxima, one inside
    assert loc.pointing(np.zeros((4, 4)), target) == 25  # a constant points anywhere: 4 of 16 pixels
    corner = np.zeros((4, 4))
    corner[0, 0] = 1
    assert loc.pointing(corner, target, tolerance=1) == 0  # the object is sqrt(2) away
    assert loc.pointing(corner, target, tolerance=1.5) == 100
    target[target == 1] = 255
    assert loc.pointing(values, target, tolerance=9) == 0  # what is ignored is not the object
