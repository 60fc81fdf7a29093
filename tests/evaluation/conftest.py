"""An evaluation of a toy on drawn pictures with boxes."""

from __future__ import annotations

import json

import pytest
from slow_evaluation import write_pictures
from toys import toy

from bsoftmax.evaluation import plan
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two pictures of each of the toy's classes, with boxes."""
    return write_pictures(tmp_path_factory.mktemp("places"))


def runs(data, folder, patched):
    """Evaluations of a toy: go(**options) -> results.json; `go.events` and `go.model` of the last run."""

    def go(name="out", root=data, stop=lambda: False, **options):
        made = options.pop("model", None) or toy()
        patched.setattr(plan.zoo, "open_model", lambda *_: made)
        go.events, go.model = [], made
        asked = {"batch": 4, "rounds": 50, "cache": folder / "cache", "device": "cpu"} | options
        done = evaluate(EvalRun(str(root), folder / name, **asked), go.events.append, stop)
        assert done == go.events[-1]
        return json.loads((folder / name / "results.json").read_text())

    return go


@pytest.fixture
def go(data, tmp_path, monkeypatch):
    """Evaluates a toy on the pictures, in a folder of the test's own."""
    return runs(data, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """One evaluation of everything: its results and its events, with a table told after every chunk."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bsoftmax.evaluation.run.TABLE_SECONDS", 0.0)
        go = runs(data, tmp_path_factory.mktemp("whole"), patched)
        return go(), go.events
