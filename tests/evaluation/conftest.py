"""An evaluation of a toy on drawn pictures with boxes."""

from __future__ import annotations

import json

import pytest
from slow_evaluation import BOXES, CLASSES, picture
from toys import toy

from bsoftmax.evaluation import plan
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two pictures of each of the toy's classes, with boxes."""
    root = tmp_path_factory.mktemp("places")
    lines = ["path,x0,y0,x1,y1"]
    for k, name in enumerate(CLASSES):
        (root / name).mkdir()
        for n, boxes in BOXES.items():
            picture(k, n).save(root / name / f"{n}.png")
            lines += [f"{name}/{n}.png,{','.join(map(str, box))}" for box in boxes]
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


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
