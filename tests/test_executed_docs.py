"""What the documentation shows is what the code says: tutorials are run, figures recomputed, errors looked up."""

import ast
import base64
import importlib.util
import json
import re
import subprocess

import numpy as np
import pytest
import torch
from paths import ROOT

from bsoftmax.reports import plots

DOCS = ROOT / "docs"
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def script(name):
    """A module of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- tutorials --------------------------------------------------------------------------------------------------------

TUTORIALS = script("tutorials")


@pytest.fixture(scope="module")
def run(tmp_path_factory, torchrun):
    """Every page as written and as run, in one empty folder, in their order."""

    def launched(words):
        assert words[:3] == ["--standalone", "--nproc-per-node", "2"]
        done = subprocess.run([*torchrun, *words[3:]], capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tutorials")
        patch.chdir(folder)
        patch.setenv("BSOFTMAX_CACHE", str(folder / "cache"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # what is shown was made without a GPU
        patch.setattr(torch.cuda, "is_available", lambda: False)
        pages = {name: (DOCS / "tutorials" / f"{name}.md").read_text(encoding="utf-8") for name in TUTORIALS.PAGES}
        patch.setattr(plots, "save_figure", lambda figure, path: path)  # tests/reports draws them; it takes seconds
        programs = {**TUTORIALS.PROGRAMS, "torchrun": launched}
        yield {name: (page, TUTORIALS.executed(page, programs)) for name, page in pages.items()}


def outputs(page):
    return re.findall(r"^```text\n(.*?)^```\n", page, re.M | re.S)


@pytest.mark.parametrize("name", TUTORIALS.PAGES)
def test_what_a_tutorial_shows_is_what_its_code_prints(name, run):
    """Numbers may differ as processors do: features are bfloat16 where those are fast."""
    page, made = run[name]
    assert NUMBER.sub("#", page) == NUMBER.sub("#", made)
    assert outputs(page)
    for shown, printed in zip(outputs(page), outputs(made)):
        pairs = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (shown, printed)]
        slack = 10 if name == "evaluate" else 0.1  # of twelve pictures one is 8.3 %
        assert pairs[1] == pytest.approx(pairs[0], rel=0.1, abs=slack), name


def test_every_tutorial_is_run():
    assert {path.stem for path in (DOCS / "tutorials").glob("*.md")} == set(TUTORIALS.PAGES)


# --- the idea's figures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    text = (DOCS / "live" / "data.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.bsoftmaxIdea=").removesuffix(";\n"))


def test_the_figures_of_the_idea_are_those_of_the_bundled_model(shown):
    made = script("idea_data").made()
    assert made.keys() | {"photo"} == shown.keys()
    for key, value in made.items():
        if isinstance(value, list) and not isinstance(value[0], str):
            assert shown[key] == pytest.approx(value, rel=1e-2, abs=2e-2), key
        elif key in ("unit", "h"):
            assert shown[key] == pytest.approx(value, rel=1e-3)
        elif key in ("clamped", "centred", "branch"):
            packed = [[value], [shown[key]]] if isinstance(value, str) else [value, shown[key]]
            for ours, theirs in zip(*packed):
                ours, theirs = (np.frombuffer(base64.b64decode(one), np.uint8).astype(int) for one in (ours, theirs))
                assert ours.shape == theirs.shape
                assert np.abs(ours - theirs).max(initial=0) <= 3
        else:
            assert shown[key] == value, key


def test_the_numbers_of_the_idea_are_those_of_the_measurements():
    measured = " ".join((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("gauge", "results", "heads"))
    told = re.findall(r"[-+]?[\d.]+ \[[-+\d., ]+\]", (DOCS / "idea.md").read_text(encoding="utf-8"))
    assert len(told) > 10
    for number in told:
        assert number in measured, number


# --- errors -----------------------------------------------------------------------------------------------------------


FILLED = re.compile(r"\\\{\w+\\\}")  # a name in braces, in an escaped string: for str.format


def templates():
    """Every string of the package as a pattern, in which what is filled in may be anything."""
    for path in sorted((ROOT / "bsoftmax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            words = [p.value if isinstance(p, ast.Constant) else None for p in parts]
            if (
                all(word is None or isinstance(word, str) for word in words)
                and sum(map(len, filter(None, words))) >= 20
            ):
                yield re.compile("".join(".+" if word is None else FILLED.sub(".+", re.escape(word)) for word in words))


def test_every_error_that_troubleshooting_quotes_is_one_of_ours():
    patterns = list(templates())
    quotes = re.findall(r"^> (.+)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    assert len(quotes) > 10
    for quote in quotes:
        assert any(pattern.fullmatch(quote) for pattern in patterns), quote
    assert not any(pattern.fullmatch("This sentence is nowhere in the code, is it.") for pattern in patterns)
