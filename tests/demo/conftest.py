"""One server and one browser for all tests of the page, a stand-in for what it starts, and visits to it."""

from contextlib import contextmanager
from functools import partial

import gradio as gr
import pytest
from demo_made import HITS, SHOTS, look_at, open_tab, zip_of_colours
from paths import TESTS

from bsoftmax import open_model
from bsoftmax.data.limits import LIMITS
from bsoftmax.images.read import read_rgb
from demo.app.layout import build_app
from demo.app.serve import MIDDLEWARE
from demo.app.theme import CSS, THEME
from demo.server.session import Session
from demo.workspace import jobs

WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def session():
    return Session()


@pytest.fixture(scope="session")
def app(session):
    """The whole page, served."""
    SHOTS.mkdir(exist_ok=True)
    app = build_app(session)
    app.launch(
        prevent_thread_lock=True, quiet=True, run_history=False, theme=THEME, css=CSS, max_file_size=LIMITS.zip_bytes,
        app_kwargs={"middleware": MIDDLEWARE},
    )  # fmt: skip
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


@pytest.fixture(scope="session")
def window(chromium):
    """One window for most pages: what one has fetched, the next takes from memory."""
    context = chromium.new_context()
    yield context
    context.close()


@contextmanager
def browsing(chromium, window):
    """Opens pages, those `apart` in browsers of their own; `errors` has the scripts that failed in them."""
    pages, contexts, errors, loaded = [], [], [], []

    def opened(url, ready, apart=False, viewport=WIDE, color_scheme="light", reduced_motion="no-preference"):
        if apart:
            contexts.append(chromium.new_context())
        page = (contexts[-1] if apart else window).new_page()
        pages.append(page)
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme, reduced_motion=reduced_motion)
        page.set_default_timeout(90_000)  # beside other load pages take long
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector(ready)
        loaded.append(page)
        return page

    opened.errors = errors
    yield opened
    for page in pages:
        if not page.is_closed():
            if page in loaded:  # in another nothing would ever be evaluated
                page.evaluate("localStorage.clear()")  # the view's settings are kept over visits
            page.close()
    for context in contexts:
        context.close()


@pytest.fixture
def browse(chromium, window):
    """Opens pages that are closed after the test; no script may fail in any of them."""
    with browsing(chromium, window) as opened:
        yield opened
        assert not opened.errors


@pytest.fixture(scope="module")
def browse_long(chromium, window):
    """Opens pages that the tests of a file go on with, one after another."""
    with browsing(chromium, window) as opened:
        yield opened


@pytest.fixture
def visit_tab(browse, app, child):
    """Opens a tab of the page."""
    return partial(open_tab, browse, app)


@pytest.fixture(scope="module")
def kept(request, app, browse_long):
    """A page with the module's TAB open, on which its tests go on one after another."""
    return open_tab(browse_long, app, tab=request.module.TAB)


@pytest.fixture
def stayed(kept, browse_long, child, request):
    """The kept page, back at its tab; no script may have failed in it."""
    kept.get_by_role("tab", name=request.module.TAB).click()
    yield kept
    assert not browse_long.errors


@pytest.fixture(scope="session")
def bundled():
    model = open_model("wild20")
    return look_at(model, model.preprocess(read_rgb(gr.get_image("lion.jpg"))))
