"""Whatever goes wrong in a command is one sentence, and the command is the package run as a module."""

from __future__ import annotations

import re
import subprocess

import pytest

from bsoftmax.models import zoo

LIGHT = "test_resnet"
E = ("explain", "@/wide.png", "--model", "@/both.safetensors")
BAD = {
    "no such model": ("explain", "@/wide.png", "--model", "no_such_net"),
    "no such checkpoint": ("explain", "@/wide.png", "--model", "@/absent.safetensors"),
    "a picture as model": ("explain", "@/wide.png", "--model", "@/wide.png"),
    "no such weights": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/absent.safetensors"),
    "weights of another kind": ("explain", "@/wide.png", "--model", LIGHT, "--weights", "@/both.safetensors"),
    "no such picture": ("explain", "@/absent.png", "--model", "@/both.safetensors"),
    "a folder without pictures": ("explain", "@/empty", "--model", "@/both.safetensors"),
    "a checkpoint as picture": ("explain", "@/both.safetensors", "--model", "@/both.safetensors"),
    "no such class": (*E, "--class", "purple"),
    "class out of range": (*E, "--class", "3"),
    "negative class": (*E, "--class=-1"),
    "a superscript as class": (*E, "--class", "²"),
    "no branch": ("explain", "@/wide.png", "--model", "@/softmax.safetensors", "--source", "sigmoid"),
    "method that the head forbids": ("explain", "@/wide.png", "--model", "@/vit.safetensors", "--method", "cam"),
    "no such channel to distort": ("distort", *E[1:], "--channel", "9999", "--delta", "1"),
    "distortion into a kind unknown": ("distort", *E[1:], "--uniform", "1", "--out", "m.bmp"),
    "no model to diagnose": ("diagnose", "@/absent.safetensors"),
    "unknown kind of figure": (*E, "--out", "m.bmp"),
    "no folder to write to": (*E, "--out", "nowhere/m.png"),
    "no folder to write maps to": (*E, "--out", "nowhere/m.npz"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_ends_in_one_sentence_and_exit_code_2(bad, run, tmp_path):
    code, _, err = run(*BAD[bad])
    err = err.rsplit("\r", 1)[-1]  # what a progress bar drew before is wiped from the line
    assert code == 2
    assert re.fullmatch(r"bsoftmax: .+[.]\n", err)
    assert "Traceback" not in err
    assert not list(tmp_path.glob("*.png")) + list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    "wrong",
    [(), ("explain",), ("explain", "a.png", "--method", "gradcamm"), ("train", "d"), ("dance",), (*E, "--source", "x")],
)
def test_a_command_line_that_does_not_parse_shows_its_usage(wrong, run, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*wrong)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: ")
    assert "Traceback" not in err


def test_an_interrupted_command_ends_quietly(run, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "open_model", stop)
    code, _, err = run(*E)
    assert code == 130
    assert err.count("\n") == 1


def test_python_dash_m_is_the_command(folder, tmp_path, forks):
    done = subprocess.run(
        [*forks, "-m", "bsoftmax", "explain", "absent.png", "--model", str(folder / "both.safetensors")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bsoftmax: There is no file 'absent.png'")
    assert "Traceback" not in done.stderr
