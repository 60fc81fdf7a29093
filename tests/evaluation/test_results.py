"""From records to results and tables: intervals, differences, every file parsed back, two results compared."""

from __future__ import annotations

import csv
import json
import random
import re

import numpy as np
import pytest
import reference_metrics as ref
from toys import refusal

from bsoftmax.evaluation import aggregate, comparison, localization, metrics, results, tables
from bsoftmax.evaluation import column as column_module
from bsoftmax.evaluation.aggregate import Entry, Running
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
    return {**said, "versions": {"torch": "2"}, **found}


FOUND = stamped(collected())


def column(key):
    return next(c for c in FOUND["columns"] if c["key"] == key)


def values(entry, name, part="looks"):
    return [r[part][entry][name] for r in MADE[:N]]


def test_means_are_means_and_differences_are_paired():
    base, ours = values(BASE.key, "average_drop"), values(OURS.key, "average_drop")
    found = column("cam/sigmoid/on")
    assert found["baseline"] == "cam/softmax/off"
    assert found["metrics"]["average_drop"]["value"] == pytest.approx(sum(ours) / N)
    difference = found["difference"]["average_drop"]
    assert difference["value"] == pytest.approx((sum(ours) - sum(base)) / N)
    draws = np.random.default_rng(0).integers(N, size=(200, N)).tolist()
    apart = ref.bootstrap_means([a - b for a, b in zip(ours, base)], draws)
    low, high = np.percentile(apart, [2.5, 97.5])
    assert (difference["low"], difference["high"]) == pytest.approx((low, high))
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
    assert column_module.verdict({"value": (low + high) / 2, "low": low, "high": high}, higher) == said


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
    running = Running(ENTRIES, RULE)
    for record in MADE:
        running.add(record)
    assert (running.n, running.unreadable) == (N, 1)
    for row, found in zip(running.table(), FOUND["columns"]):
        assert row["column"] == found["key"]
        assert row["metrics"] == pytest.approx({name: cell["value"] for name, cell in found["metrics"].items()})


def test_nothing_measured_is_one_sentence():
    assert "broken_" in refusal(lambda: collected(MADE[-1:]))


# --- files ------------------------------------------------------------------------------------------------------------


def test_csv_holds_every_number_in_full():
    lines = tables.table_csv(FOUND).splitlines()
    said = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    assert said["data.fingerprint"] == "f" * 64
    assert said["protocol.places.tau"] == "0.2"
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == sum(len(c["metrics"]) for c in FOUND["columns"])
    for row in rows:
        found = column(row["column"])
        cell = found["metrics"][row["metric"]]
        assert (float(row["value"]), float(row["low"]), float(row["high"])) == (
            cell["value"],
            cell["low"],
            cell["high"],
        )
        assert int(row["n"]) == cell["n"]
        apart = found["difference"].get(row["metric"])
        assert (float(row["difference_value"]) if row["difference_value"] else None) == (apart and apart["value"])
        share = found["shares"].get(row["metric"])
        assert (float(row["worse"]) if row["worse"] else None) == (share and share["worse"])


def cells_of(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_parses_back_and_shows_nasty_names_as_they_are():
    text = tables.markdown(FOUND)
    lines = text.splitlines()
    heads = cells_of(lines[4])
    assert heads[:3] == ["method", "source", "clamp"]
    for line, found in zip(lines[6:], FOUND["columns"]):
        for name, cell in zip(tables.measured(FOUND), cells_of(line)[3:]):
            numbers = [float(x) for x in re.findall(r"[-\d.]+", cell)]
            assert numbers == [round(found["metrics"][name][f], 2) for f in ("value", "low", "high")]
    above = lines[: lines.index("## What makes the difference")]
    assert len({len(cells_of(line)) for line in above if line.startswith("| CAM")}) == 1
    (question,) = (line for line in lines if "the paper's step" in line)
    assert [float(x) for x in re.findall(r"[-+\d.]+", cells_of(question)[2])] == [
        round(FOUND["contrasts"][0]["difference"]["average_drop"][f], 2) for f in ("value", "low", "high")
    ]
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert re.search(r"^- a\\\|b\\_c", text, re.M)
    assert f"{N} images, 1 counted out" in text
    assert "| data\\.fingerprint | " + "f" * 64 in text
    assert "gradcam/softmax/off = cam/softmax/off" in text.replace("\\", "")


def test_latex_is_laid_out_as_the_papers_tables():
    first, second = tables.latex(FOUND, 1), tables.latex(FOUND, 2)
    for text, names in (
        (first, ("average_drop", "increase")),
        (second, ("top1_cls", "gt_loc", "max_box_acc_v2", "px_ap")),
    ):
        assert "% protocol.places.tau: 0.2" in text
        body = [line for line in text.splitlines() if not line.startswith("%")]
        assert body[0] == rf"\begin{{tabular}}{{ll{'r' * len(names)}}}"
        rows = [line.removesuffix(r" \\").split(" & ") for line in body if " & " in line]
        assert rows[0][:2] == ["Backbone", "Method"]
        assert rows[1][:2] == [r"res\_net\%", "CAM"]
        assert [row[1] for row in rows[1:]] == ["CAM", "+ Ours", r"$\Delta$", "Grad-CAM"]
        kept = {1: "cam/softmax/off", 2: "cam/sigmoid/on", 4: "gradcam/softmax/off"}
        for at, key in kept.items():
            assert [float(x) for x in rows[at][2:]] == [round(column(key)["metrics"][n]["value"], 2) for n in names]
        apart = column("cam/sigmoid/on")["difference"]
        assert [float(x.strip("()")) for x in rows[3][2:]] == [round(apart[n]["value"], 2) for n in names]
    assert all(line.startswith("%") or "{x}" not in line for line in first.splitlines())


def test_a_table_of_nothing_measured_is_not_written(tmp_path):
    made = [{k: v for k, v in r.items() if k != "places"} for r in MADE]
    (tmp_path / "table2.tex").write_text("old")
    paths = tables.write(stamped(collected(made)), tmp_path)
    assert sorted(p.name for p in paths) == ["results.csv", "results.md", "table1.tex"]
    assert not (tmp_path / "table2.tex").exists()


@pytest.mark.parametrize("text", [NASTY, "\\", "%", "a\u202eb", "# x", "1. x"])
def test_strings_of_users_stay_on_their_line(text):
    assert "\n" not in tables.escape_markdown(text)
    assert "\n" not in tables.escape_latex(text)
    assert "\u202e" not in tables.escape_markdown(text) + tables.escape_latex(text)
    for special in "%&$#_":
        assert len(re.findall(rf"(?<!\\){re.escape(special)}", tables.escape_latex(text))) == 0


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path):
    with aggregate.write_head(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 0}, {"i": 1}])
    path = tmp_path / "records-0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"i": 2, "image": "x')
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [0, 1]
    with aggregate.write_head(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 3}])
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [0, 1, 3]
    assert path.read_bytes().count(b"key") == 1


def test_a_torn_head_is_begun_anew(tmp_path):
    (tmp_path / "records-0.jsonl").write_bytes(b'{"key": ')
    assert list(aggregate.read(tmp_path, "k")) == []
    assert aggregate.head_of(tmp_path) is None
    with aggregate.write_head(tmp_path, 0, {"key": "k"}) as file:
        aggregate.append(file, [{"i": 3}])
    assert [r["i"] for r in aggregate.read(tmp_path, "k")] == [3]


def test_records_of_several_ranks_are_read_once_each(tmp_path):
    for rank, places in ((0, (0, 2)), (1, (1, 2))):
        with aggregate.write_head(tmp_path, rank, {"key": "k"}) as file:
            aggregate.append(file, [{"i": i, "rank": rank} for i in places])
    assert [(r["i"], r["rank"]) for r in aggregate.read(tmp_path, "k")] == [(0, 0), (2, 0), (1, 1)]
    assert "another folder" in refusal(lambda: list(aggregate.read(tmp_path, "other")))


def test_a_damaged_line_is_one_sentence(tmp_path):
    (tmp_path / "records-0.jsonl").write_bytes(b'{"key": "k"}\nnot json\n{"i": 1}\n')
    assert "damaged" in refusal(lambda: list(aggregate.read(tmp_path, "k")))


# --- compare ----------------------------------------------------------------------------------------------------------


def written(folder, seed=0, keep=True, **data):
    """A folder with results, and the records they came from."""
    folder.mkdir()
    made = [drawn(n, seed) for n in range(N)]
    found = stamped(results.collect(lambda: iter(made), ENTRIES, RULE, N, rounds=200), **data)
    (folder / "results.json").write_text(json.dumps(found))
    if keep:
        with aggregate.write_head(folder, 0, {"key": "k"}) as file:
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
    draws = np.random.default_rng(0).integers(N, size=(1000, N)).tolist()
    low, high = np.percentile(ref.bootstrap_means([y - x for x, y in zip(first, second)], draws), [2.5, 97.5])
    assert [float(x) for x in re.findall(r"[-+\d.]+", row[5])] == pytest.approx([low, high], abs=0.006)


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
