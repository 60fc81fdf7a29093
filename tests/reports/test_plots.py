"""The plots: a mark and an interval for every difference, a line for every curve, in files that are whole."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from PIL import Image
from results_made import contrast, measured, stamped

from bsoftmax.evaluation.column import CONTRASTS
from bsoftmax.reports import files, plots

QUESTIONS = list(CONTRASTS)[:3]
ENDS = {  # method -> a (low, value, high) for each question
    "cam": [(1, 2, 3), (-1, 0.5, 2), (-5, -4, -3)], "gradcam++": [(0, 0, 0), (-1, 1, 3), (2, 4, 9)],
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    columns = [measured(method, kind, 50.0) for method in ENDS for kind in (("softmax", False), ("sigmoid", True))]
    for n, column in enumerate(columns[:2]):
        pixels = {"recall": [0, 1], "precision": [1, n]}
        column["curves"] = {"deletion": [0.9, 0.5 - n / 10, 0.1], "precision_recall": pixels}
    made = [contrast(method, q, gt_loc=ends) for method, all_ in ENDS.items() for q, ends in zip(QUESTIONS, all_)]
    return stamped({"n": 4, "columns": columns, "contrasts": made})


def test_every_difference_is_a_mark_filled_where_its_interval_leaves_out_zero(found):
    (panel,) = plots.panels(found)
    assert panel.title == "Places: GT-known Loc"
    (axes,) = (a for a in plots.forest([panel]).axes if a.collections)
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    marks = [c for c in axes.collections if isinstance(c, PathCollection)]
    for (method, ends), line, mark in zip(ENDS.items(), lines, marks, strict=True):
        drawn = [(low[0], value, high[0]) for (low, high), value in zip(line.get_segments(), mark.get_offsets()[:, 0])]
        assert drawn == ends, method
        filled = [tuple(colour) != to_rgba("white") for colour in mark.get_facecolors()]
        assert filled == [low > 0 or high < 0 for low, _, high in ends]
    heights = np.concatenate([mark.get_offsets()[:, 1] for mark in marks])
    assert len(set(heights.round(6))) == 6  # a row of its own for each
    assert len({tuple(line.get_colors()[0]) for line in lines}) == 2
    assert axes.lines[0].get_xdata() == [0, 0]
    low, high = axes.get_xlim()
    assert low < -5
    assert high > 9
    assert plots.panels(found, methods=["cam"])[0].rows[QUESTIONS[0]].keys() == {"CAM"}


def test_the_better_side_is_named_for_either_kind_of_metric(found):
    (panel,) = plots.panels(found)
    for name, words in (("gt_loc", "worse ←  → better"), ("average_drop", "better ←  → worse")):
        figure = plots.forest([plots.Panel("", name, panel.rows)])
        assert any(words in axes.get_xlabel() for axes in figure.axes)


def test_curves_are_those_measured(found):
    figure = plots.curves(plots._curves(found))
    drawn = [a for a in figure.axes if a.get_xlabel()]
    assert [a.get_xlabel() for a in drawn] == ["pixels taken away, %", "recall"]
    assert [line.get_xydata().tolist() for line in drawn[0].lines] == [
        [[0, 0.9], [50, 0.5 - n / 10], [100, 0.1]] for n in (0, 1)
    ]
    assert [line.get_xydata().tolist() for line in drawn[1].lines] == [[[0, 1], [1, n]] for n in (0, 1)]
    assert [line.is_dashed() for line in drawn[0].lines] == [True, False]  # clamped: solid


def test_the_files_are_whole_and_hold_no_markup_of_users(found, tmp_path):
    (tmp_path / "curves.png").touch()
    paths = files.write({**found, "columns": [c | {"curves": {}} for c in found["columns"]]}, tmp_path)
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    assert {"forest.png", "forest.svg"} <= {p.name for p in paths}
    assert "curves.png" not in {p.name for p in paths}
    tree = ElementTree.parse(tmp_path / "forest.svg")
    words = " ".join("".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text"))
    for question in QUESTIONS:
        assert question in words
    assert "<script>" in words  # the data's name, as text
    assert not re.search(r"(?:href|src)=\"(?!#)", (tmp_path / "forest.svg").read_text())
    with Image.open(tmp_path / "forest.png") as image:
        image.load()
        assert image.width == 1170  # 3.9 inches at 300 dpi: 390 pixels of a telephone with three dots each
    assert "](forest.svg)" in (tmp_path / "results.md").read_text()
