"""How the tests are shared among processes, and the browser that tests of several packages use."""

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: the processes share the cores among them
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from paths import ROOT, TESTS

os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"  # as the served page has it: serve.py
# each process has a cache of its own: visitors who leave one page remove the files that another shows
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="bsoftmax-tests-")
atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)

LONG = (  # what takes longest begins first, so that no process works on alone at the end
    "models/test_bundled", "paper/test_reproduction", "paper/test_problems", "demo/test_train_browser",
    "demo/test_evaluate_browser", "cli/test_kill", "training/test_distributed", "evaluation/test_parallel",
    "demo/test_compare_browser", "demo/test_distort_browser", "demo/", "cli/", "models/", "evaluation/", "training/",
)  # fmt: skip
UNTRACED = (  # count for no coverage, which costs them half their time: other tests reach nearly all of the same lines
    "demo/", "paper/test_reproduction", "cams/test_methods", "evaluation/test_run", "models/test_bundled",
    "training/test_run", "test_executed_docs", "test_house", "test_site",
)  # fmt: skip
# the headless shell first: it draws no window around the page
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_xdist_auto_num_workers(config):
    """One process more than cores: tests of the page wait for browsers and jobs a third of their time."""
    return (os.cpu_count() or 1) + 1


def _place(node):
    return node.path.relative_to(TESTS).as_posix()


def _rank(item):
    return next((n for n, start in enumerate(LONG) if _place(item).startswith(start)), len(LONG))


def pytest_collection_modifyitems(items):
    items.sort(key=_rank)


@pytest.fixture(scope="module", autouse=True)
def _untraced(request):
    """Coverage is asked of the library alone, and tracing Python 3.11 slows what it does not count as well."""
    tracing = sys.modules.get("coverage") if _place(request).startswith(UNTRACED) else None
    running = tracing and tracing.Coverage.current()
    if running:
        running.stop()
    yield
    if running:
        running.start()


@pytest.fixture(scope="session", autouse=True)
def _few_boxes_are_followed():
    """Every training ends with distorting the maps of validation images: of two of them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bsoftmax.training.run.JUDGED", 2)
        yield


def _chromium_path():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _unavailable(reason):
    """Skip on a bare machine; in CI a missing browser must not pass for a tested page."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


@pytest.fixture(scope="session")
def chromium():
    """A running headless Chromium, driven by playwright."""
    path = _chromium_path()
    if path is None:
        _unavailable(f"no Chromium found ({', '.join(BROWSERS)})")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS, timeout=90_000)
        yield browser
        browser.close()


@contextlib.contextmanager
def forking():
    """A process that has done the imports of the tests (forking.py); the command that it forks for."""
    with tempfile.TemporaryDirectory(prefix="forks-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
        command = (sys.executable, str(TESTS / "forking.py"), f"{folder}/door")
        with subprocess.Popen([*command, "serve"], stdin=subprocess.PIPE, env=environment) as server:
            yield (command[0], "-IS", *command[1:])
            server.terminate()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """The test processes share one that forks: it imports while they do."""
    if not hasattr(node.config, "forks"):
        context = forking()
        node.config.forks = context.__enter__()
        node.config.add_cleanup(lambda: context.__exit__(None, None, None))
    node.workerinput["forks"] = node.config.forks


@pytest.fixture(scope="session")
def forks(request):
    """A command like `python` that needs no time for imports."""
    with contextlib.ExitStack() as stack:
        given = getattr(request.config, "workerinput", {})
        command = tuple(given.get("forks") or stack.enter_context(forking()))
        subprocess.run([*command, "-c", "pass"], check=True)  # it has done the imports now
        yield command


@pytest.fixture(scope="session")
def torchrun(forks):
    """torchrun with two processes; it and each of them is a fork."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return (*forks, *launcher, *forks[2:])


@pytest.fixture(scope="module")
def page(chromium):
    """An empty page, for arithmetic in the browser."""
    page = chromium.new_page()
    yield page
    page.close()
