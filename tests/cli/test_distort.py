"""The distort and diagnose commands: a picture, its numbers, and both heads measured."""

from __future__ import annotations

import json
import re

import pytest


@pytest.mark.parametrize("out", ["d.png", "d.pdf"])
def test_distort_writes_a_picture_and_its_numbers(out, run, tmp_path):
    code, text, _ = run("distort", "@/wide.png", "--model", "@/both.safetensors", "--flip", "100", "--out", out)
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {out, "d.json"}
    assert json.loads((tmp_path / "d.json").read_text())["max_dp"] < 1e-5  # softmax does not see it
    assert float(re.search(r"max \|dp\| (\S+)", text)[1]) < 1e-5


def test_diagnose_measures_both_heads(run):
    code, text, _ = run("diagnose", "@/both.safetensors", "--image", "@/wide.png")
    assert code == 0
    assert {line.split(":")[0] for line in text.splitlines()[:2]} == {"softmax", "sigmoid"}
