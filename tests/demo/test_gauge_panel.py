"""The sweep in the Evaluate tab: the command it runs, and what is shown of its files."""

import json
import zipfile

import pytest
from slow_evaluation import write_pictures
from toys import toy

from bsoftmax.cli.main import main, parser
from demo.evaluate import gauge
from demo.evaluate.plan import EvalSettings


@pytest.mark.parametrize("source", ["a b.zip", "--help.zip"])
def test_the_command_is_one_the_parser_takes(source):
    settings = EvalSettings(("localization", "curves"), 7, ("gradcam",), "-v", "", "official", 3)
    words = gauge.words(source, ["--model", "mine.safetensors"], settings)
    options = parser().parse_args(words)
    assert (options.models[0], options.data, options.limit, options.split) == ("mine.safetensors", source, 7, "-v")
    assert (options.method, options.metrics, options.protocol, options.seed) == (
        "gradcam",
        "localization",
        "official",
        3,
    )
    assert parser().parse_args(gauge.words("x", [], EvalSettings())).models == []


def test_a_finished_sweep_is_words_a_figure_and_all_files(tmp_path, monkeypatch, capsys):
    data, out = write_pictures(tmp_path), tmp_path / "out"
    monkeypatch.setattr("bsoftmax.models.zoo.open_model", lambda *_: toy())
    words = ["gauge", "--data", str(data), "--sizes", "0,4", "--directions", "uniform", "--metrics", "localization"]
    assert main([*words, "--out", str(out), "--cache", str(tmp_path / "cache"), "--workers", "1", "--events"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    progress = gauge.GaugeProgress()
    progress.update(events)
    assert progress.last["event"] == "done"
    shown = gauge.shown(progress.last)
    said = [block.get("text", "") for block in shown["gauge_words"].blocks]
    assert "class-mean row" in said[0]
    with zipfile.ZipFile(shown["gauge_files"].value["path"]) as archive:
        assert set(archive.namelist()) == {f"gauge.{end}" for end in ("json", "md", "csv", "png", "svg")}
