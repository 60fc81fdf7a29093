"""From records to results: means, intervals, differences, galleries, and records torn or damaged."""

from __future__ import annotations

import random

import numpy as np
import pytest
import reference as ref
from results_made import BASE, ENTRIES, FOUND, MADE, NASTY, OURS, RULE, N, collected, column, values
from toys import refusal

from bsoftmax.evaluation import aggregate, metrics, results
from bsoftmax.evaluation import column as column_module
from bsoftmax.evaluation.aggregate import RunningTable
from bsoftmax.evaluation.column import Column


def test_means_are_means_and_differences_are_paired():
    base, ours = values(BASE.key, "average_drop"), values(OURS.key, "average_drop")
    found = column("cam/sigmoid/on")
    assert found["baseline"] == "cam/softmax/off"
    assert found["metrics"]["average_drop"]["value"] == pytest.approx(sum(ours) / N)
    difference = found["difference"]["average_drop"]
    assert difference["value"] == pytest.approx((sum(ours) - sum(base)) / N)
    apart, t = np.array(ours) - np.array(base), ref.student(N - 1)
    (low, high), half = ref.hall(apart.tolist(), t), t * apart.std(ddof=1) / N**0.5
    low, high = min(low, apart.mean() - half), max(high, apart.mean() + half)
    assert (difference["low"], difference["high"]) == pytest.approx((low, high), rel=2e-3)
    better = sum(a < b for a, b in zip(ours, base))
    shares = {"better": 100 * better / N, "worse": 100 - 100 * better / N, "equal": 0}
    assert found["shares"]["average_drop"] == pytest.approx(shares)
    assert "sparsity" not in found["shares"]  # neither way is better
    assert column("cam/softmax/off")["difference"] == {}


def test_one_thing_is_changed_at_a_time():
    """Of the questions only one can be asked of these columns; its answer is the paired difference."""
    (asked,) = FOUND["contrasts"]
    assert asked["of"] == ["cam/sigmoid/on", "cam/softmax/off"]
    assert asked["difference"] == column("cam/sigmoid/on")["difference"]
    for question, (one, other) in column_module.CONTRASTS.items():
        assert (one[0] != other[0]) + (one[1] != other[1]) == (
            2 if "step" in question or "no training" in question else 1
        )


@pytest.mark.parametrize(
    ("low", "high", "higher", "said"),
    [(-1, 1, True, "no difference"), (0, 1, True, "no difference"), (1, 2, True, "better"), (1, 2, False, "worse"),
     (-2, -1, True, "worse"), (-2, -1, False, "better")],
)  # fmt: skip
def test_a_difference_is_one_when_its_interval_leaves_out_zero(low, high, higher, said):
    difference = {"value": (low + high) / 2, "low": low, "high": high}
    assert column_module.verdict(difference, higher) == said
    assert column_module.verdict(difference | {"p_holm": 0.06}, higher) == "no difference"  # among so many


def test_differences_are_called_within_their_family():
    """One question, all methods and metrics: its difference is called where Holm's correction lets it be."""
    (asked,), (family,) = FOUND["contrasts"], FOUND["families"]
    cells = {name: cell for name, cell in asked["difference"].items() if "p_holm" in cell}
    assert asked["difference"].keys() - cells.keys() == {"top1_cls", "sparsity"}  # the same numbers; no better side
    assert "p" not in asked["difference"]["top1_cls"]
    called = [cell["p_holm"] < 0.05 for cell in cells.values()]
    assert called == ref.holm([cell["p"] for cell in cells.values()])
    alone = sum(cell["low"] > 0 or cell["high"] < 0 for cell in cells.values())
    counts = {"comparisons": len(cells), "alone": alone, "together": sum(called)}
    assert family == {"question": asked["question"], **counts}
    for name, cell in column("cam/softmax/off")["metrics"].items():
        assert not cell.keys() & {"p", "p_holm"}, name


def test_the_same_maps_count_once_in_a_family():
    cell = {"value": 1.0, "low": 0.1, "high": 1.9, "n": 9, "p": 0.03}
    columns = [
        {"key": f"{method}/softmax/{clamp}", "source": "softmax", "clamp": clamp == "on", "look": clamp, "place": clamp,
         "baseline": f"{method}/softmax/off" if clamp == "on" else None, "difference": {"gt_loc": dict(cell)}}
        for method in ("cam", "gradcam") for clamp in ("off", "on")
    ]  # fmt: skip
    asked = [
        {"method": c["key"], "question": "?", "of": [c["key"], c["baseline"]], "difference": {"gt_loc": dict(cell)}}
        for c in columns if c["baseline"]
    ]  # fmt: skip
    assert results.correct(columns, asked) == [{"question": "?", "comparisons": 1, "alone": 1, "together": 1}]
    assert [c["difference"]["gt_loc"]["p_holm"] for c in (*columns[1::2], *asked)] == [0.03] * 4


def test_many_comparisons_are_said():
    said = column_module.multiplicity(
        [{"comparisons": 60, "alone": 7, "together": 3}, {"comparisons": 40, "alone": 2, "together": 1}]
    )
    for words in ("of the 100 differences here about 5 would", "and 9 do", "only of the 4 ", "Holm's", "at most 5 %"):
        assert words in said
    assert "Nothing" in column_module.multiplicity([])


def apart(reach=0.1, **values):
    """Differences as `best` gets them, with intervals that reach so far."""
    return {name: {"value": v, "low": v - reach, "high": v + reach} for name, v in values.items()}


def higher(name):
    return metrics.find(name).higher_is_better


def test_the_best_column_beats_every_other_map_of_its_method():
    a, b, c = (Column("cam", *kind) for kind in (("softmax", False), ("softmax", True), ("sigmoid", True)))
    drop, boxes, sparsity = {a: 1, b: 2, c: 9}, {a: 5, b: 4, c: 4.5}, {a: 1, b: 2, c: 3}  # the last is no merit

    def difference(one, other):
        found = apart(average_drop=drop[one] - drop[other], sparsity=sparsity[one] - sparsity[other])
        unclear = 0.6 if {one, other} == {a, c} else 0.1
        return found | apart(unclear, gt_loc=boxes[one] - boxes[other])

    found = column_module.best((a, b, c, Column("eigencam", "softmax", False)), difference, higher)
    assert found == {a.key: ["average_drop"], b.key: [], c.key: []}


def test_one_map_under_two_names_does_not_keep_itself_from_being_best():
    worse, good, twin = (Column("layercam", *k) for k in (("softmax", False), ("sigmoid", False), ("sigmoid", True)))

    def difference(one, other):
        return None if {one, other} == {good, twin} else apart(gt_loc=-1 if one == worse else 1)

    found = column_module.best((worse, good, twin), difference, higher)
    assert found == {worse.key: [], good.key: ["gt_loc"], twin.key: ["gt_loc"]}


def test_sets_are_measured_as_sets():
    hits = np.sum([metrics.unpack_hits(h) for h in values(f"{OURS.key}:bicubic", "hits", "places")], axis=0)
    counts = np.sum([metrics.unpack_counts(c) for c in values(f"{OURS.key}:bicubic", "counts", "places")], axis=0)
    found = column("cam/sigmoid/on")
    best = 100 * hits[:, :255].max(1) / N
    assert found["metrics"]["max_box_acc"]["value"] == pytest.approx(best[0])
    assert found["metrics"]["max_box_acc_v2"]["value"] == pytest.approx(best[1:].mean())
    assert found["metrics"]["px_ap"]["value"] == pytest.approx(float(metrics.px_ap(counts)))
    assert found["curves"]["box_accuracy"]["any, IoU .3"] == pytest.approx((100 * hits[1] / N).tolist(), abs=1e-5)
    steps = np.mean([c["deletion"] for c in values(OURS.key, "curves")], axis=0)
    assert found["curves"]["deletion"] == pytest.approx(steps.tolist())
    for name in ("max_box_acc", "max_box_acc_v2", "px_ap"):
        cell = found["metrics"][name]
        assert cell["low"] <= cell["high"]
        assert cell["n"] == N
        assert name in found["difference"]
        assert name not in found["shares"]


def test_the_order_of_records_changes_nothing():
    mixed = MADE.copy()
    random.Random(1).shuffle(mixed)
    assert collected(mixed) == collected()


def test_the_seed_moves_intervals_and_no_value():
    a, b = collected(seed=0)["columns"][0]["metrics"], collected(seed=1)["columns"][0]["metrics"]
    assert all(a[name]["value"] == b[name]["value"] for name in a)
    assert any(a[name]["low"] != b[name]["low"] for name in a)


def test_the_gallery_holds_the_images_that_changed_most():
    found = column("cam/sigmoid/on")["gallery"]["average_drop"]
    gains = {
        r["image"]: b - a for r, a, b in zip(MADE, values(OURS.key, "average_drop"), values(BASE.key, "average_drop"))
    }
    ranked = sorted(gains, key=gains.get)
    assert [row["image"] for row in found["worst"]] == ranked[:8]
    assert [row["image"] for row in found["best"]] == ranked[::-1][:8]
    assert found["best"][0]["baseline"] - found["best"][0]["value"] == pytest.approx(max(gains.values()))


def test_twins_and_lost_images_are_named():
    assert column("gradcam/softmax/off")["same_as"] == "cam/softmax/off"
    assert column("gradcam/softmax/off")["metrics"] == column("cam/softmax/off")["metrics"]
    assert (FOUND["n"], FOUND["asked"], FOUND["unreadable"]) == (N, N + 1, [[NASTY, "It is | broken_."]])


def test_images_without_places_count_for_what_they_have():
    made = [dict(r) for r in MADE]
    del made[0]["places"]
    cells = {c["key"]: c for c in collected(made)["columns"]}["cam/sigmoid/on"]["metrics"]
    assert (cells["average_drop"]["n"], cells["gt_loc"]["n"], cells["px_ap"]["n"]) == (N, N - 1, N - 1)
    rest = values(f"{OURS.key}:bicubic", "gt_loc", "places")[1:]
    assert cells["gt_loc"]["value"] == pytest.approx(sum(rest) / len(rest))


def test_the_running_table_agrees_with_the_results():
    running = RunningTable(ENTRIES, RULE)
    for record in MADE:
        running.add(record)
    assert (running.n, running.unreadable) == (N, 1)
    for row, found in zip(running.table(), FOUND["columns"]):
        assert row["column"] == found["key"]
        assert row["metrics"] == pytest.approx({name: cell["value"] for name, cell in found["metrics"].items()})


def test_nothing_measured_is_one_sentence():
    assert "broken_" in refusal(lambda: collected(MADE[-1:]))


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path):
    with aggregate.open_records(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 0}, {"i": 1}])
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"i": 2, "image": "x')
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [0, 1]
    with aggregate.open_records(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 3}])
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [0, 1, 3]
    assert path.read_bytes().count(b"key") == 1


def test_a_torn_head_is_begun_anew(tmp_path):
    (tmp_path / "records-0.jsonl").write_bytes(b'{"key": ')
    assert list(aggregate.read(tmp_path, "k")) == []
    assert aggregate.read_header(tmp_path) is None
    with aggregate.open_records(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 3}])
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [3]


def test_records_of_several_ranks_are_read_once_each(tmp_path):
    for rank, places in ((0, (0, 2)), (1, (1, 2))):
        with aggregate.open_records(tmp_path, rank, {"key": "k"}) as file:
            aggregate.append(file, [{"i": i, "rank": rank} for i in places])
    assert [(r["i"], r["rank"]) for r in aggregate.read(tmp_path, "k")] == [(0, 0), (2, 0), (1, 1)]
    assert "another folder" in refusal(lambda: list(aggregate.read(tmp_path, "other")))


def test_a_damaged_line_is_one_sentence(tmp_path):
    (tmp_path / "records-0.jsonl").write_bytes(b'{"key": "k"}\nnot json\n{"i": 1}\n')
    assert "damaged" in refusal(lambda: list(aggregate.read(tmp_path, "k")))
