"""Numbers and names that nobody means, on the command line: each ends in one sentence and exit code 2."""

from __future__ import annotations

import re

import pytest

TRAIN = ("train", "@/data", "--out", "x.safetensors", "--model", "@/both.safetensors")
EVALUATE = ("evaluate", "@/data", "--model", "@/both.safetensors")
DISTORT = ("distort", "@/wide.png", "--model", "@/both.safetensors")
REPRODUCE = ("reproduce", "table1", "--data", "@/data")
SAMPLE = ("sample", "made")
NUMBERS = {  # a command, and its options whose value is a number
    TRAIN: ("probe-epochs", "probe-lr", "views", "epochs", "lr", "weight-decay", "share", "seed", "nice"),
    EVALUATE: ("share", "limit", "seed", "batch", "workers", "nice"),
    DISTORT: ("channel", "delta", "uniform", "flip"),
    REPRODUCE: ("limit", "epochs", "stage1-epochs", "views", "seed", "workers"),
    SAMPLE: ("per-class", "seed"),
    ("pretrain", "@/data", "--out", "x.safetensors"): ("seed",),
}
NOBODY_MEANS = ("nan", "inf", "1e39", "-1e308", "x", "", "9" * 5000)
LONG = "n" * 300
NAMES = {
    "a data set of a long name": ("train", LONG, *TRAIN[2:]),
    "a model of a long name": ("evaluate", "@/data", "--model", LONG),
    "a model of dots": ("explain", "@/wide.png", "--model", "..", "--out", "m.png"),
    "a picture of a long name": ("explain", LONG + ".png", "--model", "@/both.safetensors"),
    "an output of a long name": ("sample", LONG),
    "an output under a file": ("sample", "@/wide.png/sample"),
    "a class of a long name": ("explain", "@/wide.png", "--model", "@/both.safetensors", "--class", "c" * 100_000),
    "a class of many digits": ("explain", "@/wide.png", "--model", "@/both.safetensors", "--class", "9" * 5000),
    "a cache under a file": (*EVALUATE, "--cache", "@/wide.png/cache", "--split", LONG),
    "a device nobody has": (*EVALUATE, "--device", "x" * 200),
    "a list under a file": ("evaluate", "@/data", "--model", "@/both.safetensors", "--boxes", "@/wide.png/boxes.csv"),
}


def one_sentence(code, err):
    err = err.rsplit("\r", 1)[-1]
    assert code == 2
    assert re.fullmatch(r"bsoftmax: .+[.]\n", err)
    assert "Traceback" not in err
    assert "Errno" not in err
    assert len(err) < 420


@pytest.mark.parametrize("value", NOBODY_MEANS, ids=lambda value: value[:8] or "nothing")
@pytest.mark.parametrize(
    ("command", "option"), [(c, o) for c, options in NUMBERS.items() for o in options], ids=lambda x: str(x)[:24]
)
def test_a_number_that_nobody_means_is_refused_by_the_option(command, option, value, run, tmp_path):
    code, _, err = run(*command, f"--{option}={value}")
    one_sentence(code, err)
    assert f"--{option} must be a" in err
    assert value[:10] in err
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_is_one_sentence(name, run):
    code, _, err = run(*NAMES[name])
    one_sentence(code, err)
