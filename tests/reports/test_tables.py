"""Results as short Markdown, CSV and LaTeX: every file parsed back, and strings that stay on their line."""

from __future__ import annotations

import csv
import re

import pytest
from results_made import FOUND, MADE, NASTY, N, cells_of, collected, column, measured, stamped

from bsoftmax.reports import files, latex, tables, text

# --- the small tables -------------------------------------------------------------------------------------------------

KINDS = [(source, clamp) for source in ("softmax", "sigmoid", "log-odds", "centred") for clamp in (False, True)]


def test_methods_that_are_one_map_are_one_row_and_bold_is_what_the_intervals_say():
    same = [measured(method, kind, 10.0 * n, look=f"cam/{kind}") for method in ("cam", "gradcam")
            for n, kind in enumerate(KINDS)]  # fmt: skip
    layer = [measured("layercam", kind, 0.0, look=f"cam/{(kind[0], True)}") for kind in KINDS]
    other = [measured("gradcam++", kind, 1.0 + n) for n, kind in enumerate(KINDS)]
    free = measured("eigencam", KINDS[0], 33.3)
    best = {"cam/centred/on": ["gt_loc"], "gradcam++/softmax/off": ["average_drop"]}
    (small,) = tables.small_tables(stamped({"n": 4, "columns": [*same, *layer, *other, free], "best": best}))
    assert small.kinds == KINDS  # whatever sources are registered
    (name, rows), *rest = small.rows.items()
    assert (name, rest) == ("gt_loc", [])
    assert [label for label, _ in rows] == ["CAM = Grad-CAM", "Grad-CAM++", "Eigen-CAM, which knows no class"]
    assert [[cell.text for cell in cells] for _, cells in rows] == [
        [f"{10.0 * n:.1f}" for n in range(8)], [f"{1.0 + n:.1f}" for n in range(8)], ["33.3", *[""] * 7],
    ]  # fmt: skip
    assert [(label, n) for label, cells in rows for n, cell in enumerate(cells) if cell.best] == [("CAM = Grad-CAM", 7)]
    assert small.notes[-1] == "Layer-CAM, clamped or not, is CAM clamped."
    line = next(line for line in small.markdown().splitlines() if "CAM = Grad-CAM" in line)
    assert cells_of(line) == ["GT-known Loc ↑", "CAM = Grad-CAM", *(f"{10.0 * n:.1f}" for n in range(7)), "**70.0**"]
    assert re.search(r"^  CAM = Grad-CAM  .* 60\.0 +70\.0\*$", small.text(), re.M)
    assert "\n* better than every other map of its row" in small.text()


def test_a_small_table_says_how_far_its_intervals_reach():
    wide = measured("cam", KINDS[1], 50.0) | {"metrics": {"gt_loc": {"value": 50.0, "low": 41.0, "high": 52.0, "n": 4}}}
    (small,) = tables.small_tables(stamped({"n": 4, "columns": [measured("cam", KINDS[0], 1.0), wide]}))
    assert small.notes[0].startswith("No map is better than every other")
    assert "reach at most this far from them: 9.0 for GT-known Loc." in small.notes[1]


# --- files ------------------------------------------------------------------------------------------------------------


def read_csv(words):
    lines = words.splitlines()
    said = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    assert said["data.fingerprint"] == "f" * 64
    assert said["protocol.places.tau"] == "0.2"
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_csv_holds_every_number_in_full():
    rows = read_csv(files.results_csv(FOUND))
    assert len(rows) == sum(len(c["metrics"]) for c in FOUND["columns"])
    for row in rows:
        found = column(row["column"])
        cell = found["metrics"][row["metric"]]
        assert [float(row[end]) for end in ("value", "low", "high")] == [cell[end] for end in ("value", "low", "high")]
        assert int(row["n"]) == cell["n"]
        apart = found["difference"].get(row["metric"])
        assert (float(row["difference_value"]) if row["difference_value"] else None) == (apart and apart["value"])
        share = found["shares"].get(row["metric"])
        assert (float(row["worse"]) if row["worse"] else None) == (share and share["worse"])
        assert row["best_of_its_method"] == str(int(row["metric"] in FOUND["best"].get(row["column"], ())))


def test_contrasts_have_a_csv_of_their_own():
    (asked,) = FOUND["contrasts"]
    rows = read_csv(files.contrasts_csv(FOUND))
    assert [row["metric"] for row in rows] == list(asked["difference"])
    for row in rows:
        cell = asked["difference"][row["metric"]]
        assert (row["question"], row["method"], row["of"], row["minus"]) == (asked["question"], "cam", *asked["of"])
        assert {end: float(row[end]) for end in cell} == cell
        assert (row["outcome"] == "no difference") == (cell["low"] <= 0 <= cell["high"])


def test_markdown_is_short_and_full_parses_back_with_nasty_names_as_they_are():
    assert "## Every metric" not in files.markdown(FOUND)
    words = files.markdown(FOUND, full=True)
    lines = words.splitlines()
    start = lines.index("## Every metric") + 2
    assert cells_of(lines[start])[:3] == ["method", "source", "clamp"]
    for line, found in zip(lines[start + 2 :], FOUND["columns"]):
        for name, cell in zip(text.metric_names(FOUND), cells_of(line)[3:]):
            numbers = [float(x) for x in re.findall(r"[-\d.]+", cell)]
            assert numbers == [round(found["metrics"][name][f], 2) for f in ("value", "low", "high")]
    above = lines[start : lines.index("## What makes the difference")]
    assert len({len(cells_of(line)) for line in above if line.startswith("| CAM")}) == 1
    (question,) = (line for line in lines if line.startswith("| CAM | the paper's step"))
    assert [float(x) for x in re.findall(r"[-+\d.]+", cells_of(question)[2])] == [
        round(FOUND["contrasts"][0]["difference"]["average_drop"][f], 2) for f in ("value", "low", "high")
    ]
    assert "<script>" not in words.replace("\\<script\\>", "")
    assert re.search(r"^- a\\\|b\\_c", words, re.M)
    assert "## Counted out: 1\n" in words
    assert f"\n{N} images of " in words
    assert "| data\\.fingerprint | " + "f" * 64 in words
    assert "| CAM = Grad-CAM |" not in words  # Grad-CAM was measured of softmax alone
    assert "Every map of Grad-CAM is one of those above." in words


def test_latex_is_laid_out_as_the_papers_tables():
    first, second = latex.latex(FOUND, 1), latex.latex(FOUND, 2)
    for words, names in (
        (first, ("average_drop", "increase")),
        (second, ("top1_cls", "gt_loc", "max_box_acc_v2", "px_ap")),
    ):
        assert "% protocol.places.tau: 0.2" in words
        body = [line for line in words.splitlines() if not line.startswith("%")]
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
    paths = files.write_tables(stamped(collected(made)), tmp_path)
    assert sorted(p.name for p in paths) == ["contrasts.csv", "results.csv", "results.md", "table1.tex"]
    assert not (tmp_path / "table2.tex").exists()


@pytest.mark.parametrize("words", [NASTY, "\\", "%", "a\u202eb", "# x", "1. x"])
def test_strings_of_users_stay_on_their_line(words):
    assert "\n" not in text.escape_markdown(words)
    assert "\n" not in text.escape_latex(words)
    assert "\u202e" not in text.escape_markdown(words) + text.escape_latex(words)
    for special in "%&$#_":
        assert len(re.findall(rf"(?<!\\){re.escape(special)}", text.escape_latex(words))) == 0
