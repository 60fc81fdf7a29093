"""Two results compared: paired where records are beside, refused where images differ."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import reference as ref
from results_made import ENTRIES, OURS, RULE, N, cells_of, drawn, stamped
from toys import refusal

from bsoftmax.evaluation import aggregate, results
from bsoftmax.reports import comparison

# --- compare ----------------------------------------------------------------------------------------------------------


def written(folder, seed=0, keep=True, **data):
    """A folder with results, and the records they came from."""
    folder.mkdir()
    made = [drawn(n, seed) for n in range(N)]
    found = stamped(results.collect(lambda: iter(made), ENTRIES, RULE, N, rounds=200), **data)
    (folder / "results.json").write_text(json.dumps(found))
    if keep:
        with aggregate.open_records(folder, 0, {"key": "k"}) as file:
            aggregate.append(file, made)
    return folder


def test_compare_pairs_the_images_where_records_are_beside(tmp_path):
    a, b = written(tmp_path / "a"), written(tmp_path / "b", seed=1)
    text = comparison.compare(a, b / "results.json")
    assert "paired over images" in text
    assert "Different in" not in text
    rows = [cells_of(line) for line in text.splitlines() if line.startswith("| cam")]
    row = next(r for r in rows if r[0].replace("\\", "") == "cam/sigmoid/on" and r[1] == "Average Drop ↓")
    first, second = ([drawn(n, s)["looks"][OURS.key]["average_drop"] for n in range(N)] for s in (0, 1))
    assert float(row[4]) == pytest.approx(np.mean(second) - np.mean(first), abs=0.006)
    apart, t = np.array(second) - np.array(first), ref.student(N - 1)
    half, (low, high) = t * apart.std(ddof=1) / N**0.5, ref.hall(apart.tolist(), t)
    low, high = min(low, apart.mean() - half), max(high, apart.mean() + half)
    assert [float(x) for x in re.findall(r"[-+\d.]+", row[5])] == pytest.approx([low, high], abs=0.1)  # of t at 11
    assert "about one in twenty" in text


def test_compare_without_records_is_not_paired(tmp_path):
    a, b = written(tmp_path / "a"), written(tmp_path / "b", seed=1, keep=False)
    text = comparison.compare(a, b)
    assert "not paired" in text
    assert all(cells_of(line)[5] == "" for line in text.splitlines() if line.startswith("| cam"))


def test_compare_refuses_other_images_unless_told(tmp_path):
    a, b = written(tmp_path / "a"), written(tmp_path / "b", fingerprint="e" * 64, layout="cub")
    message = refusal(lambda: comparison.compare(a, b))
    assert "eeeeeeee" in message
    assert "--anyway" in message
    text = comparison.compare(a, b, anyway=True)
    assert "- data.layout: not said / cub" in text


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"format": "other"}'])
def test_compare_of_what_is_no_result_is_one_sentence(tmp_path, content):
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    assert "r.json" in refusal(lambda: comparison.compare(path, path))


def test_compare_of_nothing_in_common_is_one_sentence(tmp_path):
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    found = json.loads((b / "results.json").read_text())
    found["columns"] = [c | {"key": "x" + c["key"]} for c in found["columns"]]
    (b / "results.json").write_text(json.dumps(found))
    assert "in common" in refusal(lambda: comparison.compare(a, b))
