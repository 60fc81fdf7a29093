"""The rules of the house: who may import whom, what no module does, how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bsoftmax"

# A module may import only what stands to its left.
ORDER = [
    "images", "limits", "data", "trees", "truths", "archives", "folders", "official", "imagenet", "wsol", "hub",
    "layouts", "drawing", "sample", "heads", "cuts", "checkpoints", "backbones", "spec", "card", "model", "sources",
    "view", "cams", "distortions", "pixels", "ranks", "vectors", "cache", "steps", "training", "finetune",
    "pretrain", "zoo", "report", "worker", "runs", "render", "effects", "page", "export", "figure", "sweep",
    "localization", "fidelity", "metrics", "statistics", "columns", "contrasts", "records", "stamps", "measures",
    "tally", "results", "tables", "plans", "crew", "evaluation", "comparisons", "paper", "presets", "paper_tables",
    "reproduce", "commands", "commands_train", "commands_evaluate", "commands_reproduce", "cli",
]  # fmt: skip
OUTSIDE = {"__init__", "__main__"}
FILES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
LONGEST_MODULE, LONGEST_BODY = 250, 40
LONG_BODIES: dict[str, str] = {}  # "module.function": why it may be longer


def imports(tree):
    """(absolute module, None) or (None, sibling) for everything imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, None
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield None, node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield from ((None, alias.name) for alias in node.names)


def called(tree):
    """Every name or attribute that a module mentions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def functions(tree, prefix=""):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from functions(node, f"{name}.")


def test_every_module_has_its_place():
    assert len(ORDER) == len(set(ORDER))
    assert FILES.keys() - OUTSIDE == set(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_to_the_left(module):
    siblings = {sibling for _, sibling in imports(TREES[module]) if sibling}
    assert siblings <= set(ORDER[: ORDER.index(module)])
    assert not any(name and name.split(".")[0] == "bsoftmax" for name, _ in imports(TREES[module]))


@pytest.mark.parametrize("module", FILES)
def test_the_package_knows_nothing_of_the_page(module):
    roots = {name.split(".")[0] for name, _ in imports(TREES[module]) if name}
    assert not roots & {"gradio", "demo", "app", "gradio_client"}


@pytest.mark.parametrize("module", FILES)
def test_weights_are_read_in_one_room_and_nothing_is_unpickled(module):
    roots = {name.split(".")[0] for name, _ in imports(TREES[module]) if name}
    assert "safetensors" not in roots or module in {"checkpoints", "backbones"}
    assert not roots & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
            assert node.value.id != "torch"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is False


@pytest.mark.parametrize("module", FILES)
def test_no_hooks_no_printing_no_eval(module):
    names = set(called(TREES[module]))
    assert not {n for n in names if n.startswith("register_") and n.endswith("_hook")}
    assert "print" not in names or module == "cli" or module.startswith("commands")
    assert not names & {"exec", "__import__", "breakpoint"}
    assert not any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "eval"
                   for n in ast.walk(TREES[module]))  # fmt: skip


@pytest.mark.parametrize("module", FILES)
def test_users_are_answered_with_errors_not_assertions(module):
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(TREES[module]))
    assert not any(isinstance(node, ast.ExceptHandler) and node.type is None for node in ast.walk(TREES[module]))


@pytest.mark.parametrize("module", FILES)
def test_modules_and_functions_stay_short(module):
    assert len(FILES[module].read_text().splitlines()) <= LONGEST_MODULE
    for name, node in functions(TREES[module]):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert length <= LONGEST_BODY or f"{module}.{name}" in LONG_BODIES, name


def test_no_exception_is_kept_that_nobody_needs():
    existing = {f"{module}.{name}" for module, tree in TREES.items() for name, _ in functions(tree)}
    assert LONG_BODIES.keys() <= existing


@pytest.mark.parametrize("module", FILES)
def test_public_things_say_what_they_are(module):
    assert ast.get_docstring(TREES[module])
    for node in TREES[module].body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            public = [n for n in methods if not n.name.startswith("_") and n.name != "forward"]
            assert all(ast.get_docstring(n) for n in public), node.name


@pytest.mark.parametrize("module", ORDER)
def test_public_functions_have_typed_arguments(module):
    for name, node in functions(TREES[module]):
        if "." in name or name.startswith("_"):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        assert all(a.annotation for a in arguments if a.arg not in ("self", "cls")), name
        assert node.returns is not None, name


def test_importing_the_package_does_no_work():
    """No network, no figure window, no logging handlers, no global settings; the page's packages stay unloaded."""
    code = """
import logging, sys, torch
threads, grad, handlers = torch.get_num_threads(), torch.is_grad_enabled(), list(logging.getLogger().handlers)
import bsoftmax, bsoftmax.cli
assert (threads, grad, handlers) == (torch.get_num_threads(), torch.is_grad_enabled(), logging.getLogger().handlers)
assert "gradio" not in sys.modules and "matplotlib.pyplot" not in sys.modules and "pytorch_grad_cam" not in sys.modules
assert all(hasattr(bsoftmax, name) for name in bsoftmax.__all__)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
