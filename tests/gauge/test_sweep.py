"""A head moved along what softmax cannot see: equal to the evaluation where it does not move, flat where it must be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import reference as ref
import torch
from toys import C, counted, images, toy

from bsoftmax.cams.distortions import Shift
from bsoftmax.cams.methods import class_map
from bsoftmax.cams.sources import SOURCES
from bsoftmax.cams.view import View
from bsoftmax.cli.main import main
from bsoftmax.evaluation.column import Column
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate
from bsoftmax.gauge.sweep import GaugeRun, plan

MEASURED = {"gt_loc", "max_box_acc_v2", "average_drop", "blank", "centred_rank"}


def at(points, **where):
    (found,) = [p for p in points if all(p[key] == value for key, value in where.items())]
    return found["metrics"]


def evaluated(data, out, **options):
    done = evaluate(EvalRun(str(data), out, batch=4, device="cpu", cache=out / "cache", rounds=20, limit=6, **options))
    return {c["key"]: c["metrics"] for c in json.loads(open(done["results"]).read())["columns"]}


def test_at_size_0_the_sweep_is_the_evaluation(go, data, tmp_path):
    found = go()
    same = evaluated(data, tmp_path / "evaluation", methods=("cam",))
    assert {(s["source"], s["clamp"]) for s in found["still"]} == {(s, c) for s in SOURCES for c in (False, True)}
    for still in found["still"]:
        metrics = same[f"cam/{still['source']}/{'on' if still['clamp'] else 'off'}"]
        assert {name: cell for name, cell in still["metrics"].items() if name in metrics} == {
            name: metrics[name] for name in still["metrics"] if name in metrics
        }
        assert still["metrics"].keys() >= MEASURED
    for direction in found["directions"]:
        for clamp in (False, True):
            start = at(found["points"], direction=direction, size=0.0, clamp=clamp)
            assert start == at(found["still"], source="softmax", clamp=clamp)


def test_log_odds_centred_and_branch_do_not_move_and_softmax_does(go, data, tmp_path):
    """Measured, not assumed: the same columns of the shifted head."""
    go(metrics=("localization",))
    asked = {"batch": 4, "cache": tmp_path / "cache", "device": "cpu", "sizes": (0.0, 4.0)}
    made = plan(GaugeRun(str(data), tmp_path / "plan", directions=("adversarial",), **asked))
    every = made.job.run.shifts
    columns = [
        Column("cam", s, c, shift) for s in SOURCES for c in (False, True) for shift in ("", *(x.key for x in every))
    ]
    moved = evaluated(data, tmp_path / "moved", columns=tuple(columns), shifts=every)
    changed = set()
    for column in columns:
        still, metrics = moved[replace(column, shift="").key], moved[column.key]
        if any(abs(metrics[name]["value"] - still[name]["value"]) > 1e-6 for name in still):
            changed.add(column.source)
    assert changed == {"softmax"}


def test_a_bias_moves_no_map_and_no_shift_moves_a_probability(go):
    found = go()
    assert found["checks"]["max_dp"] < 1e-12  # the toy is in double precision
    for clamp in (False, True):
        line = [at(found["points"], direction="bias", size=size, clamp=clamp) for size in (0.0, 2.0)]
        assert line[0] == line[1]


@pytest.mark.parametrize("bias", [0.0, 2.5])
def test_a_shift_moves_every_logit_and_the_map_by_d(bias):
    """Eq. 8 and 9."""
    model, x = toy(), images(2)
    view, d = View(model, x), torch.linspace(-1, 1, 6, dtype=torch.float64)
    head = Shift("d", d, bias).apply(model.softmax)
    torch.testing.assert_close(head(view.h) - model.softmax(view.h), ((view.h @ d) + bias)[:, None].expand(-1, C))
    before, after = (class_map(view.evidence("softmax", 1, part), "cam", False) for part in (None, head))
    for b in range(2):
        F = view.F[b].numpy()
        expected = ref.evidence(d.numpy(), F, False)
        torch.testing.assert_close(after[b] - before[b], torch.as_tensor(expected))


def test_the_trunk_runs_once_an_image_where_no_mask_is_scored(go):
    model = toy()
    with counted(model) as calls:
        go(model=model, metrics=("localization",), limit=None)
    assert sum(calls) == 2 + 2 * C + 2 * C  # to learn the size of the maps, twice; the images of the search; all images


def test_a_stopped_sweep_goes_on_and_ends_alike(go):
    places = {"metrics": ("localization",), "directions": ("mean",)}
    whole = go("whole", **places)
    stops = iter([False, True])
    part = go("part", stop=lambda: next(stops, True), **places)
    assert (part["complete"], part["stopped"]) == (False, True)
    again = go("part", **places)
    assert again["complete"]
    assert (again["points"], again["crossings"]) == (whole["points"], whole["crossings"])


@pytest.mark.parametrize("head", ["mlp", "token", "norm"])
def test_heads_of_every_shape_are_moved(go, head):
    asked = ("mean", "adversarial", "bias")
    found = go(model=toy(head), metrics=("localization",), directions=asked, limit=2)
    assert found["checks"]["max_dp"] < 1e-12
    assert {p["direction"] for p in found["points"]} == set(asked)


def test_the_command_writes_words_a_figure_and_every_number(data, tmp_path, monkeypatch, capsys, go):
    model = toy()
    monkeypatch.setattr("bsoftmax.models.zoo.open_model", lambda *_: model)
    out = tmp_path / "gauge"
    words = ["gauge", "toy", "--data", str(data), "--sizes", "0,4", "--directions", "uniform", "--workers", "1"]
    words += ["--limit", "4", "--metrics", "localization"]
    assert main([*words, "--out", str(out), "--cache", str(tmp_path / "cache")]) == 0
    said = capsys.readouterr().out
    assert "class-mean row of this head" in said
    assert "No probability moved" in said
    assert {p.name for p in out.iterdir()} >= {f"gauge.{end}" for end in ("json", "csv", "md", "png", "svg")}
    found = json.loads((out / "gauge.json").read_text())
    rows = (out / "gauge.csv").read_text().splitlines()
    assert len(rows) == 1 + sum(len(p["metrics"]) for p in found["still"] + found["points"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--sizes", "big"], "row norms"), (["--sizes=-1,2"], "row norms"), (["--sizes", "0"], "row norms"),
     (["--directions", "up"], "no direction 'up'"), (["--metrics", "beauty"], "no metrics 'beauty'")],
)  # fmt: skip
def test_odd_options_are_refused_in_a_sentence(data, tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.setattr("bsoftmax.models.zoo.open_model", lambda *_: toy())
    assert main(["gauge", "toy", "--data", str(data), "--out", str(tmp_path / "o"), *words]) == 2
    assert expected in capsys.readouterr().err
