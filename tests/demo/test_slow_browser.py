"""Slow methods on the page: others are answered meanwhile, Stop ends them, and so does leaving."""

import time

import gradio as gr
import pytest
from demo_made import LION
from gradio_client import Client, handle_file


@pytest.fixture
def page(browse, app):
    return browse(app.local_url, "#compare [data-ready]")


def choose_score_cam(page):
    page.locator("#method input").click()
    page.get_by_role("option", name="Score-CAM").click()
    page.wait_for_selector("#stop-slow")


def emptied(session):
    for _ in range(900):  # it looks whether it is wanted after every chunk of passes, in a lane of low priority
        if not session.slow._tickets:
            return
        time.sleep(0.1)
    raise AssertionError("a slow computation goes on")


@pytest.mark.browser
def test_a_slow_method_keeps_nobody_waiting_and_can_be_stopped(page, app, session):
    before = page.locator("#compare canvas").first.evaluate("c => c.toDataURL()")
    choose_score_cam(page)
    assert len(session.slow._tickets) == 1
    client = Client(app.local_url, verbose=False)
    value = client.predict(handle_file(LION), "wild20", "lion", "gradcam", api_name="/page_explain")
    assert value["info"]["method"] == "gradcam"
    assert len(session.slow._tickets) == 1  # it still runs
    page.locator("#stop-slow").click()
    page.wait_for_selector("text=What was computed is kept")
    page.wait_for_selector("#stop-slow", state="hidden")
    emptied(session)
    assert page.locator("#compare canvas").first.evaluate("c => c.toDataURL()") == before


@pytest.mark.browser
def test_a_visitor_who_leaves_computes_no_longer(page, session):
    choose_score_cam(page)
    page.close()
    emptied(session)


def test_a_redraw_never_begins_a_slow_method(session):
    from demo.distort.panel import redraw

    analysis = session.analysis(gr.get_image("tower.jpg"))
    asked = {"photo": analysis.key, "class_index": 3, "method": "scorecam", "uniform": 1.0}
    assert "can be distorted once" in redraw(session, asked)["error"]
    assert not analysis.view.has("channels")


def test_redraws_beyond_what_the_server_can_do_are_told_so(session, monkeypatch):
    from demo.distort import panel

    monkeypatch.setattr(panel, "PATIENCE", 0.05)
    analysis = session.analysis(gr.get_image("tower.jpg"))
    asked = {"photo": analysis.key, "class_index": 3, "method": "cam", "uniform": 1.0}
    taken = 0
    while session.redraws.acquire(blocking=False):
        taken += 1
    assert "move the slider again" in panel.redraw(session, asked)["error"]
    for _ in range(taken):
        session.redraws.release()
    assert "maps" in panel.redraw(session, asked)


def test_a_photograph_that_left_the_memory_is_analysed_again(session):
    analysis = session.analysis(gr.get_image("tower.jpg"))
    session._analyses.drop(analysis.key)
    again = session.cached_analysis(analysis.key)
    assert again is not analysis
    assert again.key == analysis.key
    with pytest.raises(ValueError, match="no longer on the server"):
        session.cached_analysis("imagenet|0")
