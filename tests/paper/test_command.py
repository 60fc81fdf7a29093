"""The reproduce command: both numbers, or a sentence."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from toys import refusal

from bsoftmax.cli import reproduce as reproduce_command
from bsoftmax.paper.reproduction import reproduce


def command(*words):
    parser = argparse.ArgumentParser()
    reproduce_command.add_options(parser)
    options = parser.parse_args(list(map(str, words)))
    options.words = ["reproduce", *map(str, words)]
    reproduce_command.run(options)


def test_the_command_prints_both_numbers(asked, made, tmp_path, monkeypatch, capsys):
    trunks = asked("table2").trunks
    tiny = lambda run, *rest: reproduce(replace(run, trunks=trunks), *rest)
    monkeypatch.setattr(reproduce_command, "reproduce", tiny)
    few = ("--datasets", "openimages", "--backbones", "resnet50", "--protocol", "official")
    where = ("--data", made / "root", "--out", tmp_path / "out", "--cache", made / "cache")
    command("table2", *where, *few, "--epochs", 1, "--stage1-epochs", 1)
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("ResNet-50  CAM") and "PxAP" in line)
    assert line.split()[5:8] == ["59.36", "60.49", "+1.13"]
    assert line.split()[-1] == "4"
    assert "standard" not in out
    found = json.loads((tmp_path / "out/table2.json").read_text())
    assert found["options"]["command"][:2] == ["bsoftmax", "reproduce"]
    assert found["options"]["protocols"] == ["official"]


def test_the_command_ends_in_a_sentence_when_nothing_could_be_measured(tmp_path, capsys):
    message = refusal(lambda: command("table1", "--data", tmp_path, "--out", tmp_path / "out", "--cache", tmp_path))
    assert "table1.md" in message
    assert "CUB_200_2011/" in capsys.readouterr().out
    assert (tmp_path / "out/table1.tex").is_file()
