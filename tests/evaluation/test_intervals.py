"""Intervals from their papers, and how often they hold the true value: exactly, or over samples with a fixed seed."""

import math

import numpy as np
import pytest
import reference as ref
from toys import refusal

from bsoftmax.evaluation.statistics import RULE, Estimate, average, bootstrap, holm

SCALE, APART, PROMISED = (0.0, 100.0), (-100.0, 100.0), 0.93


def share(x, n):
    return Estimate(100 * x / n, n, SCALE, 100.0 * (np.arange(n) < x))


def paired_share(better, worse, n):
    values = np.repeat([100.0, -100.0, 0.0], [better, worse, n - better - worse])
    return Estimate(100 * (better - worse) / n, n, APART, values, paired=True)


def of_mean(values, scale=SCALE, paired=False):
    return Estimate(float(np.mean(values)), len(values), scale, np.asarray(values), paired=paired)


def holds(estimate, truth):
    low, high = estimate.interval()
    return low - 1e-9 <= truth <= high + 1e-9


# --- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "n"), [(0, 12), (1, 50), (7, 30), (25, 50), (249, 250), (4, 4), (1, 1)])
def test_a_share_has_agresti_and_coulls_interval_which_holds_wilsons(x, n):
    low, high = share(x, n).interval()
    assert (low, high) == pytest.approx(ref.agresti_coull(x, n))
    below, above = ref.wilson(x, n)
    assert low <= below + 1e-9
    assert high >= above - 1e-9


@pytest.mark.parametrize(("better", "worse", "n"), [(0, 0, 30), (1, 0, 50), (5, 12, 250), (12, 12, 24)])
def test_a_difference_of_shares_has_bonett_and_prices_interval(better, worse, n):
    assert paired_share(better, worse, n).interval() == pytest.approx(ref.bonett_price(better, worse, n))


@pytest.mark.parametrize("power", [1, 3, -1])
@pytest.mark.parametrize("n", [6, 12, 40])
def test_a_mean_has_students_interval_and_halls_where_that_is_further(power, n):
    values = 50 + np.random.default_rng(n).gamma(2, 1, n) ** power
    t, error = ref.student(n - 1), values.std(ddof=1) / math.sqrt(n)
    low, high = ref.hall(values.tolist(), t)
    expected = min(low, values.mean() - t * error), max(high, values.mean() + t * error)
    width = expected[1] - expected[0]
    assert of_mean(values, (-1e6, 1e6)).interval() == pytest.approx(expected, abs=0.006 * width)  # of t at 5 degrees


def test_an_interval_stays_on_the_scale_and_holds_its_value():
    low, high = of_mean([0.0, 0.1, 0, 0, 40]).interval()
    assert low == 0 < high <= 100
    high_rounds = Estimate(60.0, 40, SCALE, rounds=np.full(50, 90.0))
    assert high_rounds.interval()[0] <= 60 <= high_rounds.interval()[1]


def test_images_that_agree_leave_room_for_others_and_the_same_numbers_leave_none():
    """No image of 30 differs: fewer than one in ten may. But a number is certainly itself."""
    a, b = (of_mean(np.linspace(0, 100, 30)) for _ in range(2))
    assert a.minus(b).interval() == pytest.approx(ref.bonett_price(0, 0, 30))
    assert not a.minus(b).certain
    assert a.minus(b).p_value() == 1
    assert a.minus(a).interval() == (0, 0)
    assert a.minus(a).certain
    rounds = bootstrap(np.arange(30.0))
    one, other = (Estimate(14.5, 30, SCALE, rounds=r) for r in (rounds, rounds.copy()))
    assert one.minus(one).certain
    assert one.minus(other).interval() == pytest.approx(ref.bonett_price(0, 0, 30))


def test_differences_are_paired():
    """Two noisy columns that differ by 1 +- 0.01 on every image: their difference is known that well."""
    rng = np.random.default_rng(0)
    noise, slight = rng.uniform(10, 90, 80), rng.normal(1, 0.01, 80)
    found = of_mean(noise + slight).minus(of_mean(noise))
    assert found.interval() == pytest.approx((1, 1), abs=0.01)
    assert found.p_value() < 1e-9
    assert "same images" in refusal(lambda: of_mean(noise).minus(of_mean(noise[1:])))


def test_rounds_of_a_difference_are_those_of_its_columns():
    a, b = np.random.default_rng(0).random((2, 30))
    drawn = of_mean(a).drawn(50, 3) - of_mean(b).drawn(50, 3)
    np.testing.assert_allclose(of_mean(a).minus(of_mean(b)).drawn(50, 3), drawn, atol=1e-12)
    one = of_mean(a)
    np.testing.assert_array_equal(one.minus(one).drawn(50), np.zeros(50))
    both = average([of_mean(a), of_mean(b)])
    np.testing.assert_allclose(both.values, (a + b) / 2)
    assert both.value == pytest.approx(both.values.mean())


def differences():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(3, 60))
        yield of_mean(rng.normal(rng.normal(0, 0.5), 1, n) ** int(rng.choice([1, 3])), APART, True)
        yield paired_share(*rng.multinomial(n, [0.2, 0.05, 0.75])[:2], n)
        yield Estimate(float(rng.normal(0, 9)), n, APART, rounds=rng.normal(0, 3, 50), paired=True)


def test_p_is_below_5_percent_where_the_interval_leaves_out_0():
    seen = []
    for found in differences():
        low, high = found.interval()
        seen.append(low > 0 or high < 0)
        assert (found.p_value() < 0.05) == seen[-1]
    assert 100 < sum(seen) < 500


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand
    assert holm([]) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = (rng.random(int(rng.integers(1, 30))) ** 3).tolist()
        assert [adjusted < 0.05 for adjusted in holm(p)] == ref.holm(p)


def test_the_rule_is_named():
    for name in ("95 %", "Agresti-Coull", "Bonett-Price", "Hall", "jackknife", "bootstrap", "Holm"):
        assert name in RULE


# --- how often they hold the true value -------------------------------------------------------------------------------


def choose(n, *counts):
    """log n! / (counts! (n - their sum)!)."""
    return math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in (*counts, n - sum(counts)))


@pytest.mark.parametrize("n", [30, 50, 100, 250, 1000])
def test_shares_hold_the_true_one(n):
    """Exact: over all numbers of images that may be right. Wilson's alone falls to 86 % at 0.5 % of 30 images."""
    x = np.arange(n + 1)
    ends, ways = np.array([share(k, n).interval() for k in x]).T, np.array([choose(n, k) for k in x])
    for percent in (0.5, 1, 2, 5, 10, 30, 50, 70, 90, 98, 99.5):
        p = percent / 100
        chance = np.exp(ways + x * math.log(p) + (n - x) * math.log1p(-p))
        assert chance.sum() == pytest.approx(1)
        assert chance[(ends[0] <= percent + 1e-9) & (percent - 1e-9 <= ends[1])].sum() >= PROMISED, percent


@pytest.mark.parametrize("n", [30, 50])
def test_differences_of_shares_hold_the_true_one(n):
    """Exact: over all numbers of images right in one column alone, and in the other alone."""
    counts = np.array([(b, c) for b in range(n + 1) for c in range(n + 1 - b)])
    ends = np.array([paired_share(b, c, n).interval() for b, c in counts]).T
    ways = np.array([choose(n, b, c) for b, c in counts])
    for one, other in ((1, 1), (5, 5), (20, 20), (2, 0.01), (10, 2), (30, 10), (90, 1)):
        p, q = one / 100, other / 100
        chance = np.exp(ways + counts @ np.log([p, q]) + (n - counts.sum(1)) * math.log1p(-p - q))
        assert chance.sum() == pytest.approx(1)
        assert chance[(ends[0] <= one - other + 1e-9) & (one - other - 1e-9 <= ends[1])].sum() >= PROMISED


def populations():
    rng = np.random.default_rng(5)
    some = rng.random(20_000)
    mixed = rng.standard_t(3, 20_000).clip(-20, 20)
    return {
        "normal": (rng.normal(50, 10, 20_000), SCALE),
        "a third 0, then a long tail": (np.where(some < 1 / 3, 0, 100 * rng.beta(0.6, 1.2, 20_000)), SCALE),
        "near 0": (100 * rng.beta(0.2, 6, 20_000), SCALE),
        "near 100": (100 - 100 * rng.beta(0.4, 12, 20_000), SCALE),
        "95 % are 0": (np.where(some < 0.95, 0, 100 * rng.random(20_000)), SCALE),
        "differences, heavy tails": (mixed, APART),
        "differences, 95 % are 0": (np.where(some < 0.95, 0, 100 * rng.uniform(-1, 1, 20_000)), APART),
    }


POPULATIONS = populations()
TRIALS = 1000  # samples; the standard error of a share of 95 % is 0.7 points


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("name", POPULATIONS)
def test_means_hold_the_true_one(name, n):
    """The bootstrap's percentiles hold that of 95 % zeros in 68 % of samples of 30 (docs/intervals.md)."""
    values, scale = POPULATIONS[name]
    drawn = values[np.random.default_rng(n).integers(len(values), size=(TRIALS, n))]
    covered = [holds(of_mean(sample, scale, scale == APART), values.mean()) for sample in drawn]
    assert np.mean(covered) >= PROMISED


def bands(rng, centre, width, levels=32):
    """Hits [N,levels]: an image's box is right over a range of thresholds."""
    return abs(np.arange(levels) - centre[:, None]) < width[:, None]


def highest(sums, n):
    return 100 * sums.max(-1) / n


@pytest.mark.parametrize("n", [30, 100])
def test_the_best_threshold_holds_the_true_one_and_percentiles_do_not(n):
    """Thresholds nearly as good as the best: the maximum over them is too high, the bootstrap's maxima more so."""
    rng = np.random.default_rng(n)
    centre, width = rng.normal(14, 6, 4000), rng.gamma(2, 3, 4000)
    moved = np.where(rng.random(4000) < 0.3, rng.normal(0, 5, 4000), 0)
    one, other = bands(rng, centre, width), bands(rng, centre + moved, width + moved / 4)
    truth = [float(highest(hits.sum(0), len(hits))) for hits in (one, other)]
    covered = []
    for _ in range(600):
        i = rng.integers(len(one), size=n)
        a, b = (Estimate(float(highest(c[i].sum(0), n)), n, SCALE, rounds=bootstrap(c[i], highest, 100))
                for c in (one, other))  # fmt: skip
        low, high = np.percentile(a.rounds, [2.5, 97.5])
        covered.append([holds(a, truth[0]), holds(a.minus(b), truth[0] - truth[1]), low <= truth[0] <= high])
    ours, difference, percentiles = np.mean(covered, axis=0)
    assert ours >= PROMISED
    assert difference >= PROMISED
    assert percentiles < PROMISED
