"""The registry, and numbers of a set as functions of sums, by hand."""

import numpy as np
import pytest
from toys import refusal

from bsoftmax.evaluation import localization as loc
from bsoftmax.evaluation import metrics
from bsoftmax.evaluation.metrics import METRICS

STANDARD, OFFICIAL = loc.protocol("standard"), loc.protocol("official")


def test_entries_say_what_readers_need():
    for key, metric in METRICS.items():
        assert metric.key == key
        assert metric.low < metric.high
        assert metric.needs in {"none", "boxes", "masks", "places"}
        assert metric.how in {"mean", "hits", "pixels"}
        assert metric.unit == ("%" if metric.high == 100 else "")
        assert metric.title
        assert metric.paper
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


MORE, LESS = True, False
TABLE = {  # key: which is better, ends of its scale, whether it has two scorings, what it is a function of
    "average_drop": (LESS, 0, 100, True, "mean"), "increase": (MORE, 0, 100, True, "mean"),
    "average_gain": (MORE, 0, 100, True, "mean"), "coherency": (MORE, 0, 100, False, "mean"),
    "complexity": (LESS, 0, 100, False, "mean"), "adcc": (MORE, 0, 100, True, "mean"),
    "deletion": (LESS, 0, 100, True, "mean"), "insertion": (MORE, 0, 100, True, "mean"),
    "top1_cls": (MORE, 0, 100, False, "mean"), "top1_loc": (MORE, 0, 100, False, "mean"),
    "gt_loc": (MORE, 0, 100, False, "mean"), "max_box_acc": (MORE, 0, 100, False, "hits"),
    "max_box_acc_v2": (MORE, 0, 100, False, "hits"), "px_ap": (MORE, 0, 100, False, "pixels"),
    "pointing": (MORE, 0, 100, False, "mean"), "sparsity": (None, 0, 1, False, "mean"),
    "negative": (None, 0, 100, False, "mean"), "blank": (LESS, 0, 100, False, "mean"),
    "centred_rank": (None, -1, 1, False, "mean"),
}  # fmt: skip


def test_every_metric_points_the_right_way_on_its_scale():
    found = {k: (m.higher_is_better, *m.limits, m.scored, m.how) for k, m in METRICS.items()}
    assert found == TABLE


@pytest.mark.parametrize(
    ("S", "sparsity", "negative", "blank"),
    [
        ([[1, 1], [1, 1]], 0, 0, 0),
        ([[0, 0], [0, 7]], 1, 0, 0),
        ([[3, 4], [0, 0]], (2 - 7 / 5) / (2 - 1), 0, 0),  # root of 4 positions, |M|_1 = 7, |M|_2 = 5
        ([[3, 4], [-9, 0]], (2 - 7 / 5) / (2 - 1), 25, 0),
        ([[0.5, -1], [-2, -3]], 1, 75, 0),
        ([[-1, 0], [-1, -1]], 0, 75, 100),
        ([[0, 0], [0, 0]], 0, 0, 100),
        ([[1, 2, 2], [0, 0, 0], [0, -1, -1]], (3 - 5 / 3) / (3 - 1), 200 / 9, 0),
        ([[5]], 0, 0, 0),
        ([[1] * 9], 0, 0, 0),
    ],
)
def test_numbers_of_one_map_by_hand(S, sparsity, negative, blank):
    S = np.array(S, dtype=np.float64)
    assert metrics.sparsity(S) == pytest.approx(sparsity, abs=1e-6)
    assert metrics.negative(S) == pytest.approx(negative)
    assert metrics.blank(S) == blank
    found = {"sparsity": metrics.sparsity(S), "negative": metrics.negative(S), "blank": metrics.blank(S)}
    assert metrics.map_numbers(S) == found


def test_metrics_with_a_confidence_in_them_have_two_scorings():
    assert METRICS["average_drop"].names() == ("average_drop", "average_drop.own")
    assert METRICS["complexity"].names() == ("complexity",)
    assert metrics.find("average_drop.own") is metrics.find("average_drop") is METRICS["average_drop"]
    assert "average_drop" in refusal(lambda: metrics.find("complexity.own"))


def hits_of(*rows):
    hits = np.zeros((len(rows), 4, 256), dtype=bool)
    for n, levels in enumerate(rows):
        for row, chosen in enumerate(levels):
            hits[n, row, chosen] = True
    return hits


def test_the_best_level_is_chosen_on_the_set_not_on_each_image():
    first = ([10, 20], [10], [10], [10])
    second = ([20], [10], [30], [30])
    sums = hits_of(first, second).sum(0)
    assert metrics.max_box_acc(sums, 2, STANDARD) == 100  # both are right at 20
    assert metrics.max_box_acc_v2(sums, 2, STANDARD) == pytest.approx((100 + 50 + 50) / 3)
    assert metrics.box_accuracy(sums, 2)[0, [10, 20, 30]].tolist() == [50, 100, 0]


def test_max_box_acc_is_of_the_largest_contour_alone():
    sums = hits_of(([10], [], [], [])).sum(0)
    assert metrics.max_box_acc(sums, 1, STANDARD) == 100
    assert metrics.max_box_acc_v2(sums, 1, STANDARD) == 0


def test_only_the_authors_have_the_threshold_one():
    sums = hits_of(([255], [255], [255], [255])).sum(0)
    assert metrics.max_box_acc(sums, 1, STANDARD) == metrics.max_box_acc_v2(sums, 1, STANDARD) == 0
    assert metrics.max_box_acc(sums, 1, OFFICIAL) == metrics.max_box_acc_v2(sums, 1, OFFICIAL) == 100


def test_sums_may_have_leading_axes():
    rng = np.random.default_rng(0)
    sums = rng.integers(0, 9, (3, 4, 256))
    counts = rng.integers(0, 9, (3, 2, 1002))
    for n in range(3):
        assert metrics.max_box_acc(sums, 9, STANDARD)[n] == metrics.max_box_acc(sums[n], 9, STANDARD)
        assert metrics.max_box_acc_v2(sums, 9, STANDARD)[n] == metrics.max_box_acc_v2(sums[n], 9, STANDARD)
        assert metrics.px_ap(counts)[n] == pytest.approx(metrics.px_ap(counts[n]))


def test_precision_and_recall_by_hand():
    counts = np.zeros((2, 1002), dtype=np.int64)
    counts[0, [1000, 500]] = 1, 1  # scores 1 and 0.5 on the object
    counts[1, [500, 0]] = 1, 1
    precision, recall = metrics.precision_recall(counts)
    assert precision.shape == recall.shape == (1002,)
    at = {1.0: 1, 0.5: 501, 0.0: 1001}  # places from the highest score down
    assert [float(precision[i]) for i in at.values()] == pytest.approx([1, 2 / 3, 2 / 4])
    assert [float(recall[i]) for i in at.values()] == pytest.approx([0.5, 1, 1])
    assert precision[0] == recall[0] == 0  # nothing scores 2
    assert "masks" in refusal(lambda: metrics.px_ap(counts * [[0], [1]]))


def test_one_pixel_of_an_object_is_enough():
    counts = np.zeros((2, 1002), dtype=np.int64)
    counts[0, 700], counts[1, 300] = 1, 3
    precision, recall = metrics.precision_recall(counts)
    assert precision[-1] == pytest.approx(1 / 4)
    assert recall[-1] == 1
    assert metrics.px_ap(counts) == pytest.approx(100)


def test_a_perfect_and_a_blind_map():
    target = np.zeros((10, 10), dtype=np.uint8)
    target[:3] = 1
    assert metrics.px_ap(loc.pixel_counts(target.astype(float), target)) == pytest.approx(100)
    assert metrics.px_ap(loc.pixel_counts(np.zeros((10, 10)), target)) == pytest.approx(30)  # the object's share


def test_rows_survive_a_line_of_text():
    rng = np.random.default_rng(0)
    hits = rng.random((4, 256)) < 0.5
    text = metrics.pack_hits(hits)
    assert len(text) == 256
    np.testing.assert_array_equal(metrics.unpack_hits(text), hits)
    counts = rng.integers(0, 1 << 32, (2, 1002))
    np.testing.assert_array_equal(metrics.unpack_counts(metrics.pack_counts(counts)), counts)
