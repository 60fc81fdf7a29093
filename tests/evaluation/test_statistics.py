"""Sums, bootstrap rounds, differences and maps' signs, from their definitions; intervals are in test_intervals.py."""

import itertools

import numpy as np
import pytest
import reference_metrics as ref
import torch
from toys import refusal

from bsoftmax.evaluation import localization, metrics, statistics
from bsoftmax.evaluation.aggregate import ExactSum, RowSum, merge
from bsoftmax.evaluation.statistics import bootstrap, pseudo_values, shares

RULE = localization.protocol("standard")


def best(sums, n):
    return metrics.max_box_acc(sums, n, RULE)


def total(values):
    out = ExactSum()
    for value in values:
        out = out.add(value)
    return out


def test_totals_are_the_same_to_the_bit_in_any_order():
    values = np.random.default_rng(0).normal(size=40) * 10.0 ** np.arange(-10, 10).repeat(2)
    whole = total(values)
    assert whole.mean == pytest.approx(values.mean(), rel=1e-12)
    for cut in (1, 7, 39):
        assert (
            merge(total(values[:cut]), total(values[cut:])) == merge(total(values[cut:]), total(values[:cut])) == whole
        )
    assert total(values[::-1]) == whole
    assert "finite" in refusal(lambda: ExactSum().add(float("nan")))
    assert "nothing" in refusal(lambda: ExactSum().mean)


def test_rows_add_up_in_any_order():
    rows = np.random.default_rng(0).random((6, 4, 256)) < 0.5
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]):
        halves = [RowSum.empty(4, 256), RowSum.empty(4, 256)]
        for i, n in enumerate(order):
            halves[i % 2] = halves[i % 2].add(rows[n])
        whole = merge(*halves)
        assert whole.n == 6
        np.testing.assert_array_equal(whole.sums, rows.sum(0))
    assert "one kind" in refusal(lambda: merge(ExactSum(), whole))


def test_rounds_are_means_of_images_drawn_with_replacement():
    """Three images: every round is one of the 27 draws, and all of them turn up about as often."""
    values = np.array([0.0, 1.0, 10.0])
    rounds = bootstrap(values, rounds=5400)
    possible = ref.bootstrap_means(values.tolist(), itertools.product(range(3), repeat=3))
    means, times = np.unique(np.round(possible, 9), return_counts=True)
    seen, often = np.unique(np.round(rounds, 9), return_counts=True)
    np.testing.assert_allclose(seen, means)
    np.testing.assert_allclose(often / 5400, times / 27, atol=0.03)


def test_rounds_depend_on_the_seed_alone(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    np.testing.assert_array_equal(bootstrap(values), bootstrap(values))
    assert not np.array_equal(bootstrap(values), bootstrap(values, seed=1))
    hits = np.random.default_rng(0).random((50, 4, 256)) < 0.3
    whole = bootstrap(values), bootstrap(hits, best, 40)
    monkeypatch.setattr(statistics, "MAX_ELEMENTS", 512)  # ten rounds, and two images' hits, at a time
    np.testing.assert_allclose(bootstrap(values), whole[0], rtol=1e-12)
    np.testing.assert_array_equal(bootstrap(hits, best, 40), whole[1])


def test_the_best_threshold_is_chosen_in_every_round():
    """Two images, each right at a level of its own: 50 on the set, but 100 in a round that drew one of them twice."""
    hits = np.zeros((2, 4, 256), dtype=bool)
    hits[0, 0, 3] = hits[1, 0, 9] = True
    rounds = bootstrap(hits, best, 400)
    assert set(rounds.tolist()) == {50.0, 100.0}
    assert 0.4 < (rounds == 100).mean() < 0.6
    assert best(hits.sum(0), 2) == 50
    assert "at least one image" in refusal(lambda: bootstrap(np.zeros(0)))


def test_pixel_counts_are_resampled_by_image():
    counts = np.zeros((2, 2, 1002), dtype=np.int64)
    counts[0, 0, 1000] = counts[0, 1, 0] = 5  # a perfect image
    counts[1, 1, 1000] = counts[1, 0, 0] = 5  # one that is all wrong
    rounds = bootstrap(counts, lambda sums, n: metrics.px_ap(sums), 200)
    halves = {100.0, 50.0, metrics.px_ap(counts.sum(0)).item()}
    assert set(np.round(rounds, 6)) == {round(v, 6) for v in halves}


def test_pseudo_values_stand_for_images(monkeypatch):
    """Those of a mean are the numbers themselves; those of PxAP come from the value without each image."""
    values = np.random.default_rng(0).normal(size=9)
    np.testing.assert_allclose(pseudo_values(values[:, None], lambda sums, n: sums[:, 0] / n), values)
    counts = np.random.default_rng(1).integers(0, 9, (7, 2, 1002))
    score = lambda sums, n: metrics.px_ap(sums)
    found, whole = pseudo_values(counts, score), float(metrics.px_ap(counts.sum(0)))
    for i in range(7):
        without = float(metrics.px_ap(np.delete(counts, i, 0).sum(0)))
        assert found[i] == pytest.approx(7 * whole - 6 * without)
    assert pseudo_values(counts[:1], score) == pytest.approx(float(metrics.px_ap(counts[0])))
    monkeypatch.setattr(statistics, "MAX_ELEMENTS", 4100)  # two images at a time
    np.testing.assert_array_equal(pseudo_values(counts, score), found)


def test_shares_of_images():
    values, baseline = [5.0, 1.0, 2.0 - 1e-9, 2.0 + 1e-9], [4.0, 3.0, 2.0, 2.0]
    assert shares(values, baseline, True) == {"better": 25, "worse": 25, "equal": 50}
    assert shares([5.0, 6.0, 2.0, 2.0], baseline, False) == {"better": 0, "worse": 50, "equal": 50}
    assert "same images" in refusal(lambda: shares([1.0], [1.0, 2.0], True))


def test_sparsity_is_hoyers():
    one = np.zeros((4, 4))
    one[1, 2] = 7
    assert metrics.sparsity(one) == pytest.approx(1)
    assert metrics.sparsity(np.full((4, 4), 3.0)) == pytest.approx(0, abs=1e-6)
    assert metrics.sparsity(-one) == 0
    S = np.random.default_rng(0).normal(size=(5, 7))
    assert metrics.sparsity(S) == pytest.approx(ref.hoyer(S), abs=1e-6)
    assert metrics.sparsity(100 * S) == pytest.approx(metrics.sparsity(S), abs=1e-6)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_what_a_map_is_like(kind):
    found = metrics.map_numbers(kind([[1.0, -1.0], [0.0, 0.0]]))
    assert found == {"sparsity": pytest.approx(1), "negative": 25, "blank": 0}
    assert metrics.map_numbers(kind([[-1.0, -1.0], [0.0, -2.0]])) == {"sparsity": 0, "negative": 75, "blank": 100}
    assert "NaN" in refusal(lambda: metrics.map_numbers(kind([[np.nan, 1.0]])))
