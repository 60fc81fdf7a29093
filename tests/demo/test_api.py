"""docs/api.md is true: its calls are run as they stand, and every endpoint and tool has one there."""

import re
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from demo_made import LION, zip_of_colours
from gradio.mcp import GradioMCPServer
from gradio_client import Client, handle_file
from paths import ROOT
from PIL import Image

from demo.api.parts import MOST, WORDS, Tokens
from demo.compare.present import overview

DOC = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"
PATIENT = {"timeout": 90}  # beside other load answers take long


def run_blocks(text, address, place):
    """What the Python blocks of a text leave behind, run one after another with the page at another address."""
    opened = f'Client("{address}", httpx_kwargs={PATIENT})'
    names = {"print": lambda *words: None}
    for code in re.findall(r"```python\n(.+?)```", text, re.S):
        exec(compile(code.replace(f'Client("{ADDRESS}")', opened), place, "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def client(app):
    return Client(app.local_url, verbose=False, httpx_kwargs=PATIENT)


@pytest.fixture(scope="module")
def public(app):
    """The endpoints that clients are told of, by name."""
    return app.get_api_info()["named_endpoints"]


def test_every_call_of_the_document_is_run(app, child, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lion.jpg").write_bytes(Path(LION).read_bytes())
    zip_of_colours(tmp_path, 6, "red").rename("classes.zip")
    found = run_blocks(DOC, app.local_url, "docs/api.md")
    assert found.data["classes"] == {"blue": 6, "green": 6, "red": 6}
    assert found.said["validation"] == {"images": 3, "softmax_top1": 100.0, "sigmoid_top1": 75.0}
    assert found.opened["classes"] == ["blue", "green", "red"]
    assert found.result["images"] == 3  # those that the training did not learn from
    assert found.result["columns"][0].keys() == {"method", "source", "clamp", "metrics", "difference"}
    assert "class-mean row" in found.swept["verdict"][0]
    with np.load(found.path) as maps:
        assert maps["softmax|raw"].shape == (14, 14)
    with np.load(found.maps) as maps:
        assert maps["cam|softmax"].shape == (14, 14)
    assert Image.open(found.figure).width > 900


def test_readme_has_a_call_that_runs(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lion.jpg").write_bytes(Path(LION).read_bytes())
    (block,) = re.findall(r"```python\nfrom gradio_client.+?```", (ROOT / "README.md").read_text(), re.S)
    found = run_blocks(block, app.local_url, "README.md")
    assert found.answer["class"] == "lion"


def test_every_endpoint_is_in_the_document_and_explained(public):
    called = set(re.findall(r'api_name="(/\w+)"', DOC))
    assert called == {*public, "/stop_slow"}  # which is no tool
    for name, endpoint in public.items():
        assert endpoint["description"].endswith("."), name


def test_every_endpoint_is_a_tool_whose_arguments_are_explained(app, public):
    server = object.__new__(GradioMCPServer)  # what it derives needs no package `mcp`; serving does
    server.blocks, server.api_info, server.tool_prefix = app, app.get_api_info(), ""
    server.tool_to_endpoint = server.get_tool_to_endpoint()
    assert server.tool_to_endpoint == {name[1:]: name for name in public}
    seen = set()
    for tool, endpoint in server.tool_to_endpoint.items():
        words, arguments = server.get_fn_description(server.get_block_fn_from_endpoint_name(endpoint), tool)
        schema, files = server.get_input_schema(tool, arguments)
        assert words
        seen |= schema["properties"].keys()
        for name, kind in schema["properties"].items():
            assert kind["description"] == WORDS[name], (tool, name)
            assert kind.keys() & {"type", "anyOf", "oneOf"}, (tool, name)
        assert (["photo"] in files) == ("photo" in schema["properties"])
    assert seen == WORDS.keys()


def test_the_page_of_visitors_does_not_carry_them(app):
    config = app.get_config_file()
    assert not {c["props"]["name"] for c in config["components"] if c["id"] in config["page"][""]["components"]} & {
        "api"
    }


def test_what_cannot_be_done_is_a_sentence(client):
    photo = handle_file(LION)
    for call, says in (
        ({"photo": photo, "class_name": "unicorn", "api_name": "/explain"}, "no class 'unicorn'"),
        ({"photo": photo, "clamp": "<b>", "api_name": "/explain"}, "no clamp"),
        ({"photo": photo, "flip": 200, "api_name": "/distort"}, "percent|flip|100"),
        ({"photo": photo, "file": "../x.exe", "api_name": "/export"}, "no file"),
        ({"photo": {"path": str(ROOT / "docs" / "thumbnail.png")}, "api_name": "/classify"}, "was not sent"),
        ({"data": "data-unicorn", "api_name": "/train"}, "no data set"),
        ({"data": "anna", "api_name": "/watch"}, "no data set"),
    ):
        with pytest.raises(Exception, match=says) as caught:
            client.predict(model="wild20", **call) if "photo" in call else client.predict(**call)
        assert "\n" not in str(caught.value)


def test_an_overview_of_more_methods_waits_among_the_slow_ones(client, monkeypatch):
    asked = []

    def quick(analysis, k, slow, tick, more):
        asked.append((slow, more, threading.current_thread().name.startswith("slow")))
        return overview(analysis, k)

    monkeypatch.setattr("demo.api.explaining.overview", quick)
    for kinds in ({}, {"slow": True}, {"more": True}):
        client.predict(handle_file(LION), model="wild20", **kinds, api_name="/overview")
    assert asked == [(False, False, False), (True, False, True), (False, True, True)]


def test_code_makes_the_maps_that_are_shown(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(Path(LION).read_bytes())
    ask = {"photo": handle_file(LION), "model": "wild20", "method": "gradcam++", "api_name": "/export"}
    code, maps = (client.predict(**ask, file=file) for file in ("code.py", "maps.npz"))
    names = {}
    exec(compile(Path(code).read_text(), "code.py", "exec"), names)
    with np.load(maps) as shown:
        assert len(names["maps"]) == 8
        for (source, clamp), S in names["maps"].items():
            expected = shown[f"{source}|{'clamped' if clamp else 'raw'}"]
            np.testing.assert_allclose(S.numpy(), expected, atol=1e-3 * np.abs(expected).max())


def test_tokens_go_with_their_session_and_those_of_mcp_do_not():
    tokens = Tokens()
    anna, agent = ({"x-gradio-user": "api"}, {"x-gradio-user": "mcp"})
    one = tokens.new("data", SimpleNamespace(session_hash="anna", headers=anna))
    two = tokens.new("data", SimpleNamespace(session_hash="shared", headers=agent))
    assert one != two
    ben = SimpleNamespace(session_hash="ben", headers=anna)
    assert len({tokens.new("data", ben) for _ in range(MOST)}) == MOST
    with pytest.raises(ValueError, match="the most of one client"):
        tokens.new("data", ben)
    tokens.forget(tokens._of["ben"][0])
    assert tokens.new("data", ben)
    assert (tokens.leave("anna"), tokens.leave("anna"), tokens.leave("shared")) == ([one], [], [])
