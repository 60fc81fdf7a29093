"""docs/architecture.md is true: its table names files that are there, and every recipe is carried out as it stands."""

from __future__ import annotations

import importlib
import json
import re

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from toys import coloured

from bsoftmax.cams import METHODS, View, class_map
from bsoftmax.data import read_data
from bsoftmax.models import build
from bsoftmax.models.dual_branch import DualBranch
from demo.app.layout import build_app
from demo.server.session import Session

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n(.+?)(?=^### |\Z)", TEXT, re.M | re.S))


@pytest.fixture
def carried_out():
    """Runs a recipe's code where it belongs, and takes it back afterwards."""
    undo = []

    def run(title, module):
        (code,) = re.findall(r"```python\n(.+?)```", RECIPES[title], re.S)
        module = importlib.import_module(module)
        before = dict(vars(module))
        copies = {k: dict(v) for k, v in before.items() if k.isupper() and isinstance(v, dict)}
        undo.append((module, before, copies))
        exec(compile(code, f"the recipe for {title}", "exec"), vars(module))
        return module

    yield run
    for module, before, copies in undo:
        vars(module).clear()
        vars(module).update(before)
        for name, copy in copies.items():
            before[name].clear()
            before[name].update(copy)


def test_every_file_it_names_is_there():
    paths = [p.split(":")[0] for p in re.findall(r"`((?:bsoftmax|demo|tests|app)[\w./]*(?:\.\w+)(?::\w+)?)`", TEXT)]
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_package_is_drawn():
    from test_house import LIBRARY

    drawn = set(re.findall(r"^  (\w+)\[", TEXT, re.M))
    assert drawn == {*LIBRARY, "demo"}
    arrows = {tuple(a.split(" --> ")) for a in re.findall(r"^  (\w+ --> \w+)$", TEXT, re.M)}
    for package, below in arrows:
        assert package == "demo" or below in LIBRARY[package]
    reached = {name: {below for above, below in arrows if above == name} for name in LIBRARY}
    for name in LIBRARY:  # whatever the table allows can be reached along the arrows drawn
        seen, todo = set(), [name]
        while todo:
            new = reached[todo.pop()] - seen
            seen |= new
            todo += new
        assert set(LIBRARY[name]) <= seen, name


def test_five_recipes_of_at_most_ten_lines_of_code():
    assert len(RECIPES) == 5
    for body in RECIPES.values():
        assert 0 < len("".join(re.findall(r"```python\n(.+?)```", body, re.S)).splitlines()) <= 10


def test_a_cam_method(carried_out, run, folder):
    carried_out("A CAM method", "bsoftmax.cams.methods")
    code, _, err = run(
        "explain", "@/wide.png", "--model", "@/both.safetensors", "--method", "elementwise", "--out", "m.npz"
    )
    assert (code, err) == (0, "")
    model = DualBranch.load(folder / "both.safetensors")
    view = View(model, torch.randn(1, 3, 160, 160))
    evidence = view.evidence("softmax", 0)
    slow = (torch.where(evidence.F != 0, evidence.G, 0.0).relu() * evidence.F).sum(1)
    torch.testing.assert_close(class_map(evidence, "elementwise"), slow)
    assert "elementwise" in METHODS


def test_a_trunk(carried_out, run):
    carried_out("A trunk", "bsoftmax.models.backbones")
    parts = build("resnet18", None)
    assert parts.trunk(torch.zeros(1, 3, 224, 224))[0].shape == (1, 512, 14, 14)
    assert re.search(r"^resnet18 +512x14x14 at output stride 16; weights resnet18.tv_in1k", run("models")[1], re.M)


def test_a_metric(carried_out, run, folder, tmp_path):
    module = carried_out("A metric", "bsoftmax.evaluation.metrics")
    assert module.peak_share(np.array([[1.0, -2.0], [3.0, 0.0]])) == 75
    words = (
        "--model",
        "@/both.safetensors",
        "--methods",
        "cam",
        "--metrics",
        "fidelity",
        "--out",
        "e",
        "--workers",
        "1",
        "--full",
    )
    assert run("evaluate", "@/data", *words)[0] == 0
    found = json.loads((tmp_path / "e" / "results.json").read_text())
    peaks = [column["metrics"]["peak"]["value"] for column in found["columns"]]
    assert all(0 <= peak <= 100 for peak in peaks)
    assert any(peaks)
    assert "Peak share" in (tmp_path / "e" / "results.md").read_text()


def test_a_data_layout(carried_out, tmp_path):
    carried_out("A data layout", "bsoftmax.data.layouts")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "flat.txt").touch()
    for n, name in enumerate(("cat-1.png", "cat-2.png", "dog-1.png")):
        Image.new("RGB", (32, 32), (80 * n, 0, 0)).save(tmp_path / "set" / name)
    data = read_data(tmp_path / "set", tmp_path / "work")
    assert (data.layout, data.classes, data.splits["all"].labels) == ("flat", ("cat", "dog"), (0, 0, 1))
    coloured(tmp_path / "folders", {"train": 1, "val": 1})
    assert read_data(tmp_path / "folders", tmp_path / "work").layout == "folders"


def test_a_tab(carried_out):
    carried_out("A tab", "demo.app.layout")
    session = Session()
    named = {fn.api_name: fn for fn in build_app(session).fns.values()}
    import gradio as gr

    assert named["what"].fn(gr.get_image("lion.jpg"), session.model_names()[0]) == "lion"
