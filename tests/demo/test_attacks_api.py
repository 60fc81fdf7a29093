"""What a program may send to the page's endpoints: one sentence comes back, in which nothing of the server is told."""

import json
import re
import urllib.error
import urllib.request
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from demo_made import LION
from toys import small_model

from demo.compare.user_models import UserModelHandlers
from demo.server import schemas
from demo.server.sentences import without_folders
from demo.server.session import Session

LONG = "x" * 10_000_000
HUGE = 1e308
NAN, INF = float("nan"), float("inf")
OTHERS = {  # what is neither a text nor a number of a class
    "null": None, "a list": ["lion"], "a table": {"a": 1}, "true": True, "a fraction": 1.5, "1e308": HUGE,
    "nested": [[[[[]]]]], "10 MB": LONG, "markup": "<img src=//127.0.0.1/x onerror=alert(1)>", "digits": "9" * 900,
    "a lone surrogate": "\ud800", "nothing": "", "-1": -1, "a new line": "a\nb", "right to left": "\u202enoil",
}  # fmt: skip
TRAIN = ["wild20", 2, 30, 0.5, 5e-4, "fresh", "probe", 0.2, 0, "auto"]
EVALUATE = ["wild20", ["localization", "fidelity"], 200, [], None, "", "standard", 0, "evaluate"]


@pytest.fixture(scope="module")
def base(app):
    return app.local_url.rstrip("/") + "/gradio_api"


@pytest.fixture(scope="module")
def photo(base):
    """The lion, uploaded."""
    with open(LION, "rb") as file:
        (path,) = httpx.post(f"{base}/upload", files={"files": file}, timeout=60).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def told(words, drawn=True):
    """That the words are one sentence which gives nothing away; `drawn`: as HTML, so that no markup may be in it."""
    assert isinstance(words, str), words
    assert "\n" not in words
    assert len(words.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) <= 400
    assert "x" * 81 not in words
    assert not drawn or not re.search(r"<\s*[a-z/!]", words, re.IGNORECASE)
    for word in ("Traceback", "Errno", "/tmp", "/work", "site-packages", "object has no", "NoneType", "unhashable",
                 "not subscriptable", "pydantic", "validation error", "stumbled"):  # fmt: skip
        assert word not in words
    return words


def send(base, path, body):
    request = urllib.request.Request(f"{base}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def call(base, name, data, session="eve", event=None):
    """The answer of an endpoint through the queue: (complete or error, its last data)."""
    body = {"data": data, "session_hash": session, "event_data": event}
    status, text = send(base, f"call/{name}", body)
    if status != 200:
        return "refused", json.loads(text)
    with urllib.request.urlopen(f"{base}/call/{name}/{json.loads(text)['event_id']}", timeout=120) as stream:
        lines = stream.read().decode().strip().splitlines()
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: ") or "null")


def complaint(answer, by_gradio=False):
    """What an endpoint answered; `by_gradio`: gradio's own number fields may answer nothing before we are asked."""
    kind, data = answer
    assert kind == "error", answer
    words = data["error"] if isinstance(data, dict) else data
    return "" if by_gradio and words is None else told(words)


# ---- over HTTP: what a program sends -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_explain_answers_another_class_with_a_sentence(base, photo, name):
    said = complaint(call(base, "page_explain", [photo, "wild20", OTHERS[name], "cam"]))
    assert "class" in said or "chosen" in said
    if name != "nothing":  # for programs the class predicted
        said = complaint(call(base, "explain", [photo, "wild20", OTHERS[name], "cam", "paper", 0.2]))
        assert "class" in said


@pytest.mark.parametrize("name", [n for n in OTHERS if n != "-1"])
def test_explain_answers_another_method_with_a_sentence(base, photo, name):
    if name in ("null", "nothing"):  # the model's own method
        assert call(base, "page_explain", [photo, "wild20", "lion", OTHERS[name]])[0] in ("complete", "error")
        return
    assert "method" in complaint(call(base, "page_explain", [photo, "wild20", "lion", OTHERS[name]]))


@pytest.mark.parametrize("name", OTHERS)
def test_classify_answers_another_model_with_a_sentence(base, photo, name):
    assert "model" in complaint(call(base, "classify", [photo, OTHERS[name], 5]))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((0, value) for value in (None, ["wild20"], {"a": 1}, 7, True, LONG, "<b>", "hf-hub:a/b")),
        *((3, value) for value in (None, 1e39, NAN, -1)),
        *((4, value) for value in (None, HUGE, NAN)),
        *((5, value) for value in (["fresh"], "--out=/etc/x", LONG)),
        *((7, value) for value in (None, HUGE, NAN)),
        *((8, value) for value in (None, HUGE, 2**31, 0.5 + 2**40)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_plan_answers_another_setting_with_a_sentence(base, place, value):
    complaint(
        call(base, "page_plan", [*TRAIN[:place], value, *TRAIN[place + 1 :]]),
        by_gradio=type(TRAIN[place]) in (int, float),
    )


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((0, value) for value in (None, ["wild20"], {"a": 1}, 7, True, "<b>")),
        *((2, value) for value in (None, NAN, HUGE)),
        *((4, value) for value in (["val"], {"a": 1}, True, LONG, 7)),
        *((7, value) for value in (None, HUGE)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_evaluate_plan_answers_another_setting_with_a_sentence(base, place, value):
    answer = call(base, "page_evaluate_plan", [*EVALUATE[:place], value, *EVALUATE[place + 1 :]])
    complaint(answer, by_gradio=isinstance(EVALUATE[place], int))


@pytest.mark.parametrize("endpoint", ["page_bring_zip", "page_evaluate_zip"])
def test_no_zip_is_a_sentence(base, endpoint):
    assert "zip" in complaint(call(base, endpoint, [None]))


# ---- the door of the Distort panel -------------------------------------------------------------------------------

ASKED = {"photo": "key", "class_index": 1, "method": "cam", "shift": {"channels": [1], "delta": 1.0}}
PAYLOADS = {
    "null": None, "a list": [], "a text": "key", "a number": 3, "an empty table": {}, "true": True,
    **{f"photo {name}": {**ASKED, "photo": OTHERS[name]} for name in ("null", "a list", "a table", "10 MB", "markup")},
    **{f"class {n}": {**ASKED, "class_index": OTHERS[n]} for n in ("null", "a list", "true", "1e308", "10 MB", "-1")},
    **{f"method {n}": {**ASKED, "method": OTHERS[n]} for n in ("null", "a list", "a table", "true", "10 MB", "markup")},
    **{f"{key} {value}": {**ASKED, key: value} for key in ("flip", "uniform")
       for value in ("x", NAN, INF, 1e39, HUGE, True, [1], -1e7)},
    **{f"delta {value}": {**ASKED, "shift": {"channels": [1], "delta": value}} for value in ("x", NAN, 1e39, {}, True)},
    **{f"channels {value}": {**ASKED, "shift": {"channels": value, "delta": 1}}
       for value in ("x", 3, [None], [1.5], [-1], [10**9], [10**400], {"a": 1}, [[1]])},
    "shift a list": {**ASKED, "shift": [1]}, "shift a text": {**ASKED, "shift": "x"},
    "centre a text": {**ASKED, "centre": "yes"}, "only a number": {**ASKED, "only": 3},
    "no class": {k: v for k, v in ASKED.items() if k != "class_index"},
    "no method": {k: v for k, v in ASKED.items() if k != "method"},
}  # fmt: skip


@pytest.fixture(scope="module")
def looked_at(session):
    return session.analysis(LION, "wild20").key


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_of_another_kind_is_a_sentence_for_redraw_and_for_files(name, session, looked_at):
    from demo.distort import panel

    payload = PAYLOADS[name]
    if isinstance(payload, dict) and payload.get("photo") == "key":
        payload = {**payload, "photo": looked_at}
    told(panel.redraw(session, payload)["error"], drawn=False)  # the page sets it as text
    with pytest.raises(gr.Error) as caught:
        UserModelHandlers(session).distorted("figure", SimpleNamespace(_data=payload))
    told(caught.value.message)


def test_the_same_payload_redraws_where_it_can_be_read(session, looked_at):
    from demo.distort import panel

    assert "maps" in panel.redraw(session, {**ASKED, "photo": looked_at})


@pytest.mark.parametrize("value", [None, "0", 1.5, [0], {}, True, -1, 3, 10**30, NAN])
def test_a_picture_that_is_not_there_is_a_sentence(value):
    with pytest.raises(ValueError, match="choose another") as caught:
        schemas.index_of(value, "abc")
    told(str(caught.value))


# ---- calls without a session -------------------------------------------------------------------------------------

NO_SESSION = ("page_stop", "page_discard", "page_evaluate_stop", "page_evaluate_discard")


@pytest.mark.parametrize("endpoint", NO_SESSION)
def test_a_call_without_a_session_is_refused(base, app, endpoint):
    status, text = send(base, f"run/{endpoint}", {"data": []})
    assert status == 500
    assert "belongs to no session" in told(json.loads(text)["error"])


@pytest.mark.parametrize("owner", [None, "", 3, ["a"]])
def test_models_of_ones_own_are_not_kept_for_nobody(owner, tmp_path):
    handlers = UserModelHandlers(Session())
    path = small_model(("a", "b")).save(tmp_path / "m.safetensors")
    request = SimpleNamespace(session_hash=owner)
    for ask in (
        lambda: handlers.open_checkpoint(str(path), None, "cam", request),
        lambda: handlers.show_trained("cam", request),
        lambda: handlers.push("a/b", "hf_x", request),
        lambda: handlers.example(request, SimpleNamespace(index=0)),
    ):
        with pytest.raises(gr.Error, match="belongs to no session"):
            ask()
    assert handlers.session.user_models.of(owner) == []


# ---- words -------------------------------------------------------------------------------------------------------


def test_folders_of_the_server_are_taken_out_of_sentences():
    said = without_folders("Nothing can be written in '/tmp/bsoftmax-1/a b/cache': '/tmp/x' cannot be used.")
    assert "/tmp" not in said
    assert "cache" in said
