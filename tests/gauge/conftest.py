"""A sweep of a toy's head on drawn pictures with boxes."""

from __future__ import annotations

import pytest
from slow_evaluation import write_pictures
from toys import toy

from bsoftmax.evaluation import plan
from bsoftmax.gauge.sweep import GaugeRun, sweep


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def go(data, tmp_path, monkeypatch):
    """Sweeps a toy: go(**options) -> what gauge.json holds; `go.events` of the last run."""

    def run(folder="out", stop=lambda: False, **options):
        made = options.pop("model", None) or toy()
        monkeypatch.setattr(plan.zoo, "open_model", lambda *_: made)
        run.events = []
        asked = {"batch": 4, "cache": tmp_path / "cache", "device": "cpu", "rounds": 20, "limit": 6}
        asked |= {"sizes": (0.0, 2.0), "directions": ("mean", "bias")}
        return sweep(GaugeRun(str(data), tmp_path / folder, **asked | options), run.events.append, stop)

    return run
