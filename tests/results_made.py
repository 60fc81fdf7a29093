"""Made-up records of an evaluation and the results collected from them."""

from __future__ import annotations

import re

import numpy as np

from bsoftmax.evaluation import localization, metrics, results
from bsoftmax.evaluation.aggregate import Entry
from bsoftmax.evaluation.column import Column

RULE = localization.protocol("standard")
BASE, OURS, TWIN = (
    Column("cam", "softmax", False), Column("cam", "sigmoid", True), Column("gradcam", "softmax", False)
)  # fmt: skip
ENTRIES = tuple(
    Entry(column, look.key, f"{look.key}:bicubic") for column, look in ((BASE, BASE), (OURS, OURS), (TWIN, BASE))
)
NASTY = "a|b_c%&$#{x}~^\\<script>[l](u)*`\n.png"
N = 12


def drawn(n, seed=0):
    """The record of a made-up image."""
    rng = np.random.default_rng([seed, n])
    out = {"i": n, "image": f"{n:02d}{NASTY}", "right": bool(n % 3), "looks": {}, "places": {}}
    for column in (BASE, OURS):
        out["looks"][column.key] = {
            "average_drop": 100 * rng.random(), "increase": 100.0 * (rng.random() > 0.5), "sparsity": rng.random(),
            "curves": {"deletion": rng.random(5).tolist()},
        }  # fmt: skip
        hits = rng.random((4, 256)) < 0.5
        counts = rng.integers(0, 50, (2, 1002))
        out["places"][f"{column.key}:bicubic"] = {
            "gt_loc": 100.0 * (rng.random() > 0.5), "hits": metrics.pack_hits(hits),
            "counts": metrics.pack_counts(counts),
        }  # fmt: skip
    return out


MADE = [*(drawn(n) for n in range(N)), {"i": N, "image": NASTY, "unreadable": "It is | broken_."}]


def collected(made=MADE, **options):
    return results.collect(lambda: iter(made), ENTRIES, RULE, N + 1, **{"rounds": 200} | options)


def stamped(found, **data):
    said = {"format": results.FORMAT, "complete": True, "seed": 0, "rounds": 200, "notes": [], "command": []}
    said["data"] = {"source": NASTY, "fingerprint": "f" * 64, "images": N + 1} | data
    said["model"] = {"name": "m", "trunk": "res_net%", "map_size": [4, 4]}
    said["protocol"] = {"places": RULE.asdict(), "explained": {"fidelity": "predicted"}}
    return {**said, "versions": {"torch": "2"}, "unreadable": [], **found}


FOUND = stamped(collected())


def column(key):
    return next(c for c in FOUND["columns"] if c["key"] == key)


def values(entry, name, part="looks"):
    return [r[part][entry][name] for r in MADE[:N]]


def cells_of(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def measured(method, kind, value, name="gt_loc", look=None, n=4):
    """A column made by hand; columns of one `look` are one map."""
    source, clamp = kind
    key = f"{method}/{source}/{'on' if clamp else 'off'}"
    return {
        "key": key, "method": method, "source": source, "clamp": clamp, "look": look or key, "place": look or key,
        "metrics": {name: {"value": value, "low": value - 1, "high": value + 1, "n": n}}, "difference": {},
        "shares": {}, "gallery": {}, "curves": {}, "same_as": None, "baseline": None,
    }  # fmt: skip


def contrast(method, question, **differences):
    """A contrast made by hand: {metric: (low, value, high)}."""
    cells = {name: dict(zip(("low", "value", "high"), ends)) for name, ends in differences.items()}
    of = [f"{method}/sigmoid/on", f"{method}/softmax/off"]
    return {"method": method, "question": question, "of": of, "difference": cells}
