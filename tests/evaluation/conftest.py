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


@pytest.fixture
def go(data, tmp_path, monkeypatch):
    """Evaluates a toy on the pictures: go(**options) -> results.json; `go.events` and `go.model` of the last run."""

    def run(folder="out", root=data, stop=lambda: False, **options):
        made = options.pop("model", None) or toy()
        monkeypatch.setattr(plan.zoo, "open_model", lambda *_: made)
        run.events, run.model = [], made
        asked = {"batch": 4, "rounds": 50, "cache": tmp_path / "cache", "device": "cpu"} | options
        done = evaluate(EvalRun(str(root), tmp_path / folder, **asked), run.events.append, stop)
        assert done == run.events[-1]
        return json.loads((tmp_path / folder / "results.json").read_text())

    return run
