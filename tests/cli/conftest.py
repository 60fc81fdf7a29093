"""A folder of models and photographs, and the command line run in an empty one."""

import numpy as np
import pytest
from PIL import Image
from toys import coloured, small_model

from bsoftmax.cli.main import main
from bsoftmax.reports import plots

COLOURS = ("blue", "green", "red")


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
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: path)  # tests/reports draws them; it takes a second

    def run(*arguments):
        code = main([str(a).replace("@", str(folder)) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run
