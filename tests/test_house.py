"""The rules of the repository: which package may import which, what no module does, how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from paths import ROOT

LIBRARY = {  # a package of bsoftmax, and those it may import
    "utils": (),
    "images": ("utils",),
    "data": ("images", "utils"),
    "models": ("data", "images", "utils"),
    "cams": ("models", "images", "utils"),
    "training": ("cams", "models", "data", "images", "utils"),
    "evaluation": ("cams", "models", "data", "images", "utils"),
    "reports": ("evaluation", "cams", "images", "utils"),
    "gauge": ("reports", "evaluation", "training", "cams", "models", "data", "images", "utils"),
    "paper": ("reports", "evaluation", "training", "cams", "models", "data", "utils"),
    "cli": ("paper", "gauge", "reports", "evaluation", "training", "cams", "models", "data", "images", "utils"),
}
DEMO = {  # the same for demo, all of which may import bsoftmax
    "language": (),
    "server": ("language",),
    "components": ("server", "language"),
    "distort": ("server", "language"),
    "compare": ("distort", "components", "server", "language"),
    "methods": ("compare", "distort", "components", "server", "language"),
    "workspace": ("compare", "components", "server", "language"),
    "train": ("workspace", "compare", "components", "server", "language"),
    "evaluate": ("workspace", "compare", "components", "server", "language"),
    "api": ("evaluate", "train", "workspace", "methods", "compare", "distort", "components", "server", "language"),
    "app": (
        "api",
        "evaluate",
        "train",
        "workspace",
        "methods",
        "compare",
        "distort",
        "components",
        "server",
        "language",
    ),
}
TOP = {"bsoftmax": {"__init__", "__main__"}, "demo": {"__init__"}}  # modules that lie in no package


def modules_of(top):
    """Dotted name below the top package -> path."""
    paths = sorted((ROOT / top).rglob("*.py"))
    return {".".join(p.relative_to(ROOT / top).with_suffix("").parts): p for p in paths}


FILES = modules_of("bsoftmax")
DEMO_FILES = modules_of("demo")
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
DEMO_TREES = {name: ast.parse(path.read_text()) for name, path in DEMO_FILES.items()}
INSIDE = [name for name in FILES if not name.endswith("__init__") and "." in name]
LONGEST_MODULE, LONGEST_BODY, LONGEST_TEST, MOST_MODULES = 300, 40, 350, 14
LONG_BODIES: dict[str, str] = {}  # "package.module.function": why it may be longer


def outside(tree):
    """The absolute names of everything imported from elsewhere, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def siblings(name, tree, files):
    """(module or package of the same top, imported name) of every relative import of a module."""
    package = name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                within = ".".join([*base, alias.name])
                yield (within if within in files else ".".join(base)), alias.name


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


def arrows(files, trees):
    """(importing package, imported package, module, name) across packages."""
    for module, tree in trees.items():
        for target, name in siblings(module, tree, files):
            here, there = module.split(".")[0], target.split(".")[0]
            if "." in module and here != there:
                yield here, there, module, name


@pytest.mark.parametrize(
    ("top", "table", "files"), [("bsoftmax", LIBRARY, FILES), ("demo", DEMO, DEMO_FILES)], ids=["bsoftmax", "demo"]
)
def test_every_module_lies_in_a_package_of_the_table(top, table, files):
    assert {name.split(".")[0] for name in files if "." in name} == table.keys()
    assert {name for name in files if "." not in name} == TOP[top]
    for package in table:
        inside = [name for name in files if name.startswith(f"{package}.") and not name.endswith("__init__")]
        assert 0 < len(inside) <= MOST_MODULES, package
        assert f"{package}.__init__" in files


@pytest.mark.parametrize(
    ("table", "files", "trees"), [(LIBRARY, FILES, TREES), (DEMO, DEMO_FILES, DEMO_TREES)], ids=["bsoftmax", "demo"]
)
def test_packages_import_only_what_the_table_allows(table, files, trees):
    for here, there, module, name in arrows(files, trees):
        assert there in table[here], f"{module} imports {there} ({name})"
        assert not name.startswith("_"), f"{module} imports the private name {name} of {there}"


@pytest.mark.parametrize("table", [LIBRARY, DEMO], ids=["bsoftmax", "demo"])
def test_the_table_has_no_circles(table):
    assert list(TopologicalSorter(table).static_order())
    for package, allowed in table.items():
        assert package not in allowed


@pytest.mark.parametrize(("files", "trees"), [(FILES, TREES), (DEMO_FILES, DEMO_TREES)], ids=["bsoftmax", "demo"])
def test_modules_do_not_import_one_another_in_circles(files, trees):
    graph = {m: {t for t, _ in siblings(m, tree, files) if t in files} for m, tree in trees.items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [*FILES, *(f"demo.{name}" for name in DEMO_FILES)])
def test_private_names_stay_where_they_are(module):
    top, _, name = module.partition(".")
    trees, files = (DEMO_TREES, DEMO_FILES) if top == "demo" else (TREES, FILES)
    name = name if top == "demo" else module
    modules = {alias for _, alias in siblings(name, trees[name], files)}
    for node in ast.walk(trees[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert not node.attr.startswith("_") or node.attr.startswith("__"), ast.unparse(node)


@pytest.mark.parametrize("package", [*LIBRARY, *(f"demo/{name}" for name in DEMO)])
def test_a_package_says_what_lives_in_it_and_what_it_may_import(package):
    path = ROOT / (package if package.startswith("demo/") else f"bsoftmax/{package}") / "__init__.py"
    text = ast.get_docstring(ast.parse(path.read_text()))
    allowed = DEMO[package[5:]] if package.startswith("demo/") else LIBRARY[package]
    assert ("May import" in text or "may import" in text) if allowed else ("mport" in text)


@pytest.mark.parametrize("name", ["bsoftmax", *(f"bsoftmax.{package}" for package in LIBRARY)])
def test_a_package_exports_what_it_names(name):
    module = __import__(name, fromlist=["*"])
    assert module.__all__
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("module", FILES)
def test_the_package_knows_nothing_of_the_page(module):
    roots = {name.split(".")[0] for name in outside(TREES[module])}
    assert not roots & {"gradio", "demo", "app", "gradio_client"}


@pytest.mark.parametrize("module", FILES)
def test_weights_are_read_in_two_modules_and_nothing_is_unpickled(module):
    roots = {name.split(".")[0] for name in outside(TREES[module])}
    assert "safetensors" not in roots or module in {"models.checkpoints", "models.backbones"}
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
    assert "print" not in names or module.startswith("cli.")
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


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_TEST


@pytest.mark.parametrize("package", [*LIBRARY, "demo"])
def test_tests_mirror_the_packages(package):
    assert list((ROOT / "tests" / package).glob("test_*.py"))


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


@pytest.mark.parametrize("module", INSIDE)
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
