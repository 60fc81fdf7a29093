"""Fixtures that more than one test file uses."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from toys import coloured, small_model

from bsoftmax.cli.main import main

COLOURS = ("blue", "green", "red")

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _chromium_path():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _unavailable(reason):
    """Skip on a bare machine; in CI a missing browser must not pass for a tested page."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def chromium():
    """A running headless Chromium, driven by playwright."""
    path = _chromium_path()
    if path is None:
        _unavailable("no Chromium found (chromium, chromium-browser, google-chrome)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium):
    """An empty page, for arithmetic in the browser."""
    page = chromium.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of three colours with its branch, one without, photographs, and class folders."""
    root = tmp_path_factory.mktemp("cli")
    small_model(COLOURS).save(root / "both.safetensors")
    small_model(COLOURS, branch=False).save(root / "softmax.safetensors")
    small_model(COLOURS, "test_vit").save(root / "vit.safetensors")
    coloured(root / "data", {"train": 4, "val": 2})
    (root / "empty").mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("wide.png", (60, 120, 3)), ("tall.jpg", (130, 70, 3))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(root / name)
    return root


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder with @ standing for the prepared one: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("BSOFTMAX_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        code = main([str(a).replace("@", str(folder)) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run
