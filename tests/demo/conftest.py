"""One server and one browser for all tests of the page, a stand-in for what it starts, and visits to it."""

import coverage
import gradio as gr
import pytest
from demo_made import HITS, SHOTS, look_at, zip_of_colours
from paths import TESTS

from bsoftmax import open_model
from bsoftmax.data.limits import LIMITS
from bsoftmax.images.read import read_rgb
from bsoftmax.models import zoo
from demo.app.layout import build_app
from demo.app.theme import CSS, THEME
from demo.server.session import Session
from demo.workspace import jobs

READY = {
    "Train": "#preview .report p",
    "Evaluate": f"text=Model: {zoo.DEFAULT}. Bring images",
}


@pytest.fixture(scope="module", autouse=True)
def untraced():
    """Tests of the page count for no coverage, which is asked of the library alone: tracing costs half their time."""
    running = coverage.Coverage.current()
    if running:
        running.stop()
    yield
    if running:
        running.start()


@pytest.fixture(scope="session")
def session():
    return Session()


@pytest.fixture(scope="session")
def app(session):
    """The whole page, served."""
    SHOTS.mkdir(exist_ok=True)
    app = build_app(session)
    app.launch(
        prevent_thread_lock=True, quiet=True, run_history=False, theme=THEME, css=CSS, max_file_size=LIMITS.zip_bytes
    )
    yield app
    app.close()


@pytest.fixture(scope="session")
def program(forks):
    """The stand-in's command."""
    return (*forks, str(TESTS / "fake_evaluation.py"))


@pytest.fixture
def child(monkeypatch, program):
    """The stand-in for trainings and evaluations; FAKE_JOB says how they end, and PROGRAM may be set again."""
    monkeypatch.setattr(jobs, "PROGRAM", program)
    return monkeypatch


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """A zip of two colours and a class whose name is markup."""
    return zip_of_colours(tmp_path_factory.mktemp("colours"), 6, HITS)


@pytest.fixture
def browse(chromium):
    """Opens pages in browsers of their own; no script may fail in any of them."""
    contexts, errors = [], []

    def opened(url, ready, **options):
        contexts.append(chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        page = contexts[-1].new_page()
        page.set_default_timeout(90_000)  # beside other load pages take long
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector(ready)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def visit_tab(browse, app, child):
    """Opens a tab of the page."""

    def opened(width=1280, scheme="light", tab="Train"):
        view = {"width": width, "height": 900}
        page = browse(app.local_url, "#compare [data-ready]", viewport=view, color_scheme=scheme)
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(READY[tab])
        return page

    return opened


@pytest.fixture(scope="session")
def bundled():
    model = open_model("wild20")
    return look_at(model, model.preprocess(read_rgb(gr.get_image("lion.jpg"))))
