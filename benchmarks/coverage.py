"""How often 95 % intervals hold the true value: those of `bsoftmax evaluate`, and what else could be used.

Protocol: a population whose true value is known; samples of n images drawn from it; the share of the samples whose
interval holds the value. Shares of images are summed exactly over all outcomes, the rest is simulated (`--trials`
samples, `--rounds` bootstrap rounds, seed 0; the standard error of a measured 95 % is 0.7 points at 1,000 samples).
"percentile" is the rule before: the middle 95 % of the bootstrap. "Wilson" and "BCa" (Efron 1987, ties counted half)
are what is usual. `--records` takes folders of `bsoftmax evaluate` as populations too: their images' numbers and hits.

    python benchmarks/coverage.py [--records runs/results/boxes runs/results/cub10]
"""

import argparse
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import timing

from bsoftmax.evaluation import aggregate, metrics
from bsoftmax.evaluation.localization import protocol
from bsoftmax.evaluation.statistics import Estimate, bootstrap, mean, pseudo_values

SIZES, NORMAL, Z = (30, 50, 100, 250, 1000), NormalDist(), NormalDist().inv_cdf(0.975)
SHARES = (0.5, 2, 10, 50, 90, 98)  # percent
RULE, SCALE = protocol("standard"), (0.0, 100.0)
PAIRS = ((1, 1), (5, 5), (20, 20), (2, 0), (10, 2), (30, 10))  # percent right in one column alone, in the other alone
REAL_PAIRS = (("cam/sigmoid/on", "cam/softmax/off"), ("cam/sigmoid/off", "cam/softmax/off"),
              ("cam/sigmoid/on", "cam/softmax/on"))  # fmt: skip
PHI = np.vectorize(NORMAL.cdf)


def wilson(x, n):
    """Wilson 1927, in percent."""
    p, w = x / n, 1 + Z**2 / n
    half = Z / w * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return 100 * ((p + Z**2 / (2 * n)) / w - half), 100 * ((p + Z**2 / (2 * n)) / w + half)


def percentile(rounds):
    """The middle 95 % of bootstrap rounds [trials,rounds]."""
    return np.percentile(rounds, [2.5, 97.5], axis=1)


def bca(rounds, values, acceleration):
    """Bias-corrected and accelerated intervals of bootstrap rounds [trials,rounds]."""
    below = ((rounds < values[:, None] - 1e-9).mean(1) + (rounds <= values[:, None] + 1e-9).mean(1)) / 2
    half = 0.5 / rounds.shape[1]
    z0 = np.array([NORMAL.inv_cdf(b) for b in below.clip(half, 1 - half)])
    ends = [PHI(z0 + (z0 + z) / (1 - acceleration * (z0 + z))) for z in (-Z, Z)]
    return [np.array([np.quantile(r, q) for r, q in zip(rounds, end)]) for end in ends]


def binomial(n, p):
    """P(x) for x = 0 ... n."""
    logs = [math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1) for x in range(n + 1)]
    return np.exp([log + x * math.log(p) + (n - x) * math.log1p(-p) for x, log in enumerate(logs)])


def binomial_percentile(x, n):
    """The percentile interval of x of n with infinitely many rounds."""
    if x in (0, n):
        return 100 * x / n, 100 * x / n
    below = binomial(n, x / n).cumsum()
    return 100 * np.searchsorted(below, 0.025) / n, 100 * np.searchsorted(below, 0.975) / n


def ours(x, n):
    return Estimate(100 * x / n, n, SCALE, 100.0 * (np.arange(n) < x)).interval()


def held(intervals, truth):
    low, high = (np.asarray(end) for end in intervals)
    return 100 * ((low <= truth + 1e-9) & (truth <= high + 1e-9))


def shares_table():
    rows = []
    for name, rule in (("percentile", binomial_percentile), ("Wilson", wilson), ("ours", ours)):
        for n in SIZES:
            found = np.array([rule(x, n) for x in range(n + 1)]).T
            rows.append((name, n, *(f"{binomial(n, p / 100) @ held(found, p):.1f}" for p in SHARES)))
    return timing.table(("interval", "n", *(f"{p:g} %" for p in SHARES)), rows)


def of_means(population, scale, n, rng, options, paired):
    """Coverage and mean width of percentile, BCa and ours for the mean of samples of n."""
    X = population[rng.integers(len(population), size=(options.trials, n))]
    values, apart = X.mean(1), X - X.mean(1, keepdims=True)
    second, third = (apart**2).mean(1), (apart**3).mean(1)
    acceleration = third / np.maximum(second, 1e-12) ** 1.5 / 6 / math.sqrt(n)
    rounds = np.stack([bootstrap(X[t : t + 500].T, columns, options.rounds) for t in range(0, len(X), 500)], 0)
    rounds = rounds.transpose(0, 2, 1).reshape(len(X), -1)
    ends = np.array([Estimate(v, n, scale, x, paired=paired).interval() for v, x in zip(values, X)]).T
    return measured((percentile(rounds), bca(rounds, values, acceleration), ends), population.mean())


def columns(sums, n):
    return mean(sums, n)


def measured(cases, truth):
    """Coverage (mean width) of some intervals."""
    return [f"{held(case, truth).mean():.1f} ({np.mean(case[1] - case[0]):.3g})" for case in map(np.asarray, cases)]


def synthetic_means():
    """(name, numbers of a population, scale, whether they are differences)."""
    rng = np.random.default_rng(1)
    some = rng.random(20_000)
    yield "normal, 50 +- 10", rng.normal(50, 10, 20_000).clip(0, 100), SCALE, False
    yield "a third 0, the rest long-tailed", np.where(some < 1 / 3, 0, 100 * rng.beta(0.6, 1.2, 20_000)), SCALE, False
    yield "near 0: 100 Beta(.2, 6)", 100 * rng.beta(0.2, 6, 20_000), SCALE, False
    yield "95 % are 0, the rest uniform", np.where(some < 0.95, 0, 100 * rng.random(20_000)), SCALE, False
    tails = rng.standard_t(3, 20_000).clip(-20, 20)
    yield "differences, heavy tails", tails, (-100.0, 100.0), True
    yield "differences, 95 % are 0", np.where(some < 0.95, 0, 100 * rng.uniform(-1, 1, 20_000)), (-100.0, 100.0), True
    for one, other in PAIRS:
        both = np.where(100 * some < one, 100.0, np.where(100 * some > 100 - other, -100.0, 0.0))
        yield f"shares, {one} % against {other} %", both, (-100.0, 100.0), True


def real_means(folder):
    _, arrays = opened(folder)
    ours, base = REAL_PAIRS[0]
    for (part, key, name), values in arrays.values.items():
        if part == "looks" and key == ours and name != "blank":
            scale, other = metrics.find(name).limits, arrays.values[part, base, name]
            span = scale[1] - scale[0]
            yield f"{folder.name}: {name}", values[np.isfinite(values)], scale, False
            yield f"{folder.name}: {name}, difference", (values - other)[np.isfinite(values)], (-span, span), True


def means_table(populations, options):
    rows, rng = [], np.random.default_rng(0)
    for name, values, scale, paired in populations:
        if np.ptp(values) > 0:
            rows += [(name, n, *of_means(values, scale, n, rng, options, paired)) for n in options.sizes]
    return timing.table(("population", "n", "percentile", "BCa", "ours"), rows)


def both(sums, n):
    return np.stack([metrics.max_box_acc(sums, n, RULE), metrics.max_box_acc_v2(sums, n, RULE)], -1)


def bands(rng, centre, width):
    """Hits [N,4,256]: an image's box is right over a range of levels, narrower for a higher IoU."""
    levels, scales = np.arange(256), np.array([0.9, 1.3, 0.8, 0.35])
    apart = abs(levels - centre[:, None])[:, None]
    return apart < (width[:, None] * scales + rng.normal(0, 4, (len(centre), 4)))[..., None]


def synthetic_hits(rng):
    centre, width = rng.normal(70, 30, 2000), rng.gamma(2, 20, 2000)
    moved = np.where(rng.random(2000) < 0.3, rng.normal(0, 25, 2000), 0)
    return bands(rng, centre, width), bands(rng, centre + moved, width + moved / 4)


def of_maxima(one, other, n, rng, options):
    """Coverage of percentile and ours, for two columns' MaxBoxAcc and V2 and for their differences."""
    kept = [[] for _ in range(4)]
    for _ in range(options.trials // 4):
        i = rng.integers(len(one), size=n)
        pair = [(both(c[i].sum(0, dtype=float), n), bootstrap(c[i], both, options.rounds)) for c in (one, other)]
        for m in (0, 1):
            found = [Estimate(float(v[m]), n, SCALE, rounds=r[:, m]) for v, r in pair]
            for at, e in ((m, found[0]), (2 + m, found[1].minus(found[0]))):
                kept[at].append((*np.percentile(e.rounds, [2.5, 97.5]), *e.interval()))
    true = [both(c.sum(0, dtype=float), len(c)) for c in (one, other)]
    truths = [*true[0], *(true[1] - true[0])]
    names = ("MaxBoxAcc", "MaxBoxAccV2", "MaxBoxAcc, difference", "MaxBoxAccV2, difference")
    for name, ends, truth in zip(names, kept, truths):
        ends = np.array(ends).T
        yield name, n, *measured((ends[:2], ends[2:]), truth)


def maxima_table(populations, options):
    rows, rng = [], np.random.default_rng(0)
    for name, one, other in populations:
        for n in options.sizes:
            rows += [(name, *row) for row in of_maxima(one, other, n, rng, options)]
    return timing.table(("population", "metric", "n", "percentile", "ours"), rows)


def real_hits(folder):
    _, arrays = opened(folder)
    hits = {key.split(":")[0]: np.unpackbits(packed, axis=1).view(bool).reshape(len(packed), 4, 256)
            for key, packed in arrays.hits.items() if key.endswith(":bicubic")}  # fmt: skip
    for ours, base in REAL_PAIRS:
        if ours in hits and base in hits:
            yield f"{folder.name}: {ours} against {base}", hits[base], hits[ours]


def opened(folder):
    header = aggregate.read_header(folder)
    records = [*aggregate.read(folder, header["key"])]
    return header, aggregate.load(records, 1 + max(r["i"] for r in records))


def pixel_population(rng, images=400, bins=1002):
    """Pixel counts [N,2,bins] of objects of 2 to 60 % of an image, their pixels scored higher, more or less so."""
    counts = np.zeros((images, 2, bins), dtype=np.uint32)
    for image in counts:
        size, gain = rng.uniform(0.02, 0.6), rng.normal(0.9, 0.5)
        for side, pixels, at in ((0, size, gain), (1, 1 - size, 0)):
            drawn = 1 / (1 + np.exp(-rng.normal(at - 1, 1, int(2000 * pixels))))
            image[side] = np.bincount((1000 * drawn).astype(int), minlength=bins)
    return counts


def px_ap(sums, n):
    return metrics.px_ap(sums)


def pixels_table(options):
    rows, rng = [], np.random.default_rng(0)
    population = pixel_population(rng)
    truth = float(metrics.px_ap(population.sum(0, dtype=float)))
    for n in [n for n in options.sizes if n <= 100]:
        ends = []
        for _ in range(options.trials // 4):
            sample = population[rng.integers(len(population), size=n)]
            value = float(metrics.px_ap(sample.sum(0, dtype=float)))
            old = np.percentile(bootstrap(sample, px_ap, options.rounds), [2.5, 97.5])
            ends.append((*old, *Estimate(value, n, SCALE, pseudo_values(sample, px_ap)).interval()))
        ends = np.array(ends).T
        rows.append((n, *measured((ends[:2], ends[2:]), truth)))
    return timing.table(("n", "percentile", "ours"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, nargs="*", default=[])
    parser.add_argument("--parts", nargs="*", default=["shares", "means", "pixels", "maxima"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[30, 50, 100, 250])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    means = [*synthetic_means(), *(row for folder in options.records for row in real_means(folder))]
    hits = [("bands", *synthetic_hits(np.random.default_rng(2)))]
    hits += [row for folder in options.records for row in real_hits(folder)]
    tables = {
        "shares": ("Shares of images: coverage in percent, exact", shares_table),
        "means": (
            "Means and paired differences: coverage in percent (mean width)",
            lambda: means_table(means, options),
        ),
        "pixels": ("PxAP", lambda: pixels_table(options)),
        "maxima": ("Maxima over thresholds", lambda: maxima_table(hits, options)),
    }
    for part in options.parts:
        title, table = tables[part]
        print(f"## {title}\n\n{table()}\n", flush=True)


if __name__ == "__main__":
    main()
