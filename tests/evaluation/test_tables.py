"""Results as CSV, Markdown and LaTeX: every file parsed back, and strings that stay on their line."""

from __future__ import annotations

import csv
import re

import pytest
from results_made import FOUND, MADE, NASTY, N, cells_of, collected, column, stamped

from bsoftmax.evaluation import tables

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


def test_markdown_parses_back_and_shows_nasty_names_as_they_are():
    text = tables.markdown(FOUND)
    lines = text.splitlines()
    heads = cells_of(lines[4])
    assert heads[:3] == ["method", "source", "clamp"]
    for line, found in zip(lines[6:], FOUND["columns"]):
        for name, cell in zip(tables.metric_names(FOUND), cells_of(line)[3:]):
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
