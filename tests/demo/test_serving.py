"""Serving: the options of `bsoftmax app`, the menu of models, /health and /metrics."""

import json
import logging
import os
from unittest import mock

import gradio as gr
import httpx
import pytest
from gradio import utils
from gradio.state_holder import SessionState
from toys import refusal, small_model

from bsoftmax.cli import main, parser
from demo.app import serve
from demo.app.serve import Serving
from demo.components.descriptions import describe_once
from demo.server import operation, permissions
from demo.server.session import Session


@pytest.fixture(autouse=True)
def own_environment():
    """What serving writes into the environment does not reach the tests behind."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def shared(tmp_path):
    small_model(("cat", "dog")).save(tmp_path / "pets.safetensors")
    (tmp_path / "notes.txt").write_text("no model")
    return tmp_path


def test_shared_models_are_in_everybodys_menu(shared):
    session = Session(serve.menu(Serving(share_models=str(shared))))
    assert {"imagenet", "wild20", "pets"} <= set(session.model_names())
    assert session.model("pets").classes == ("cat", "dog")


def test_the_menu_may_be_cut_but_keeps_what_the_page_opens_with(shared):
    menu = serve.menu(Serving(models=("pets",), share_models=str(shared)))
    assert list(menu) == ["imagenet", "pets"]
    with pytest.raises(ValueError, match="no model 'wild20'"):
        Session(menu).model("wild20")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Serving(models=("unicorn",)), "There is no model 'unicorn'"),
        (Serving(share_models="/nowhere"), "There is no folder '/nowhere' of models"),
    ],
)
def test_models_that_are_not_there_are_a_sentence(options, says):
    assert says in refusal(lambda: serve.menu(options))


def test_the_command_hands_its_options_over(monkeypatch):
    seen = []
    monkeypatch.setattr(serve, "serve", seen.append)
    words = ["--host", "0.0.0.0", "--port", "8000", "--max-upload", "5", "--no-training", "--models", "imagenet,wild20"]
    assert main(["app", *words, "--root-path", "/x", "--operation"]) == 0
    assert seen == [Serving("0.0.0.0", 8000, "/x", 5, False, ("imagenet", "wild20"), None, True)]
    assert parser().parse_args(["app"]).operation is False


def test_tools_for_agents_without_their_package_are_a_sentence(monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    assert refusal(serve.serve) == refusal(lambda: serve.serve(Serving(mcp=True)))
    assert "pip install 'bsoftmax[mcp]'" in refusal(serve.serve)


def test_what_is_served_is_what_was_asked_for(monkeypatch):
    launched = {}

    class Page:
        def launch(self, **options):
            launched.update(options)
            return None, "", ""

        def block_thread(self):
            launched["blocked"] = True

    monkeypatch.setattr(serve, "build_app", lambda session: Page())
    monkeypatch.setattr(serve, "write_into_one_folder", lambda: None)
    monkeypatch.setenv("GRADIO_SERVER_NAME", "127.0.0.1")
    monkeypatch.setenv(permissions.VARIABLE, "")
    monkeypatch.delenv(serve.OPERATION, raising=False)
    serve.serve(Serving("0.0.0.0", 8000, "/x", 5, training=False))
    assert launched["server_name"] == "0.0.0.0"
    assert (launched["server_port"], launched["root_path"], launched["max_file_size"]) == (8000, "/x", 5_000_000)
    assert launched["blocked"]
    assert permissions.data_limits() is None
    assert not permissions.is_local()


@pytest.fixture
def watched(monkeypatch):
    """A small page that is watched."""
    monkeypatch.setattr(operation, "CALLS", operation.Calls())
    with gr.Blocks() as page:
        gr.Markdown("x")
    app, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    operation.watch(app, page)
    yield address
    page.close()


def test_an_operator_sees_counts_and_no_content(watched, caplog):
    with operation.CALLS.counted("explain"):
        pass
    with (
        caplog.at_level(logging.INFO, "bsoftmax.calls"),
        pytest.raises(ValueError, match="secret"),
        operation.CALLS.counted("explain"),
    ):
        raise ValueError("secret")
    assert httpx.get(f"{watched}health").json()["status"] == "ok"
    found = httpx.get(f"{watched}metrics").text
    assert 'bsoftmax_requests_total{handler="explain"} 2' in found
    assert 'bsoftmax_errors_total{handler="explain"} 1' in found
    assert 'quantile="0.95"' in found
    assert "bsoftmax_queue 0" in found
    assert int(found.split("\nbsoftmax_resident_bytes ")[1].split()[0]) > 50e6
    assert "secret" not in found
    logged = [json.loads(record.message) for record in caplog.records if record.name == "bsoftmax.calls"]
    assert [(line["handler"], line["error"]) for line in logged] == [("explain", False), ("explain", True)]


def test_operation_is_off_where_nobody_asked_for_it(app):
    assert "bsoftmax_requests_total" not in httpx.get(f"{app.local_url}metrics").text


def test_a_component_is_described_once_for_all_visitors(monkeypatch):
    described, asked = gr.Slider.get_config, []
    monkeypatch.setattr(gr.Slider, "get_config", lambda slider: asked.append(slider) or described(slider))
    with gr.Blocks() as page:
        slider = gr.Slider()
    describe_once(page)
    asked.clear()
    first, second = (SessionState(page).config_values[slider._id]["props"] for _ in range(2))
    assert asked == [slider]
    assert first == second
    assert first is not second


def test_a_visitor_gets_the_descriptions_that_gradio_makes_with_the_values_of_the_moment(app):
    def described(block):
        return utils.delete_none(type(block).get_config(block))

    slider = next(block for block in app.blocks.values() if isinstance(block, gr.Slider))
    before = slider.value
    for value in (before, before + 1):
        slider.value = value
        kept = SessionState(app).config_values
        assert {_id: config["props"] for _id, config in kept.items()} == {
            _id: described(block) for _id, block in app.default_config.blocks.items() if _id in kept
        }
        assert kept[slider._id]["props"]["value"] is value
        kept[slider._id]["props"]["value"] = "of one visitor"
    slider.value = before
    assert SessionState(app).config_values[slider._id]["props"]["value"] is before
