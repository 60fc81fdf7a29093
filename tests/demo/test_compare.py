"""The Compare tab's handlers called directly: what is shown is what the library computes; bad input is one sentence."""

import json
import threading
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from demo_made import LION, stored
from PIL import Image

from bsoftmax import METHODS, SOURCES
from demo.compare.handlers import Handlers
from demo.compare.present import overview
from demo.server.session import Session, Store

# ---- the session -------------------------------------------------------------------------------------------------


def test_the_trunk_runs_once_a_picture_whatever_is_asked(session, monkeypatch):
    model, calls = session.model("wild20"), []
    forward = model.trunk.forward
    monkeypatch.setattr(model.trunk, "forward", lambda x: calls.append(len(x)) or forward(x))
    handlers = Handlers(Session())
    handlers.session._models = session._models  # the same open model, no looks yet
    handlers.session.trunks._faster[model] = None  # the trunk itself
    for method in METHODS:
        if not METHODS[method].slow:
            for k in (3, 13):
                handlers.explain(LION, "wild20", k, method)
    overview(handlers.analysis(LION, "wild20"), 13)
    assert calls == [1]


def test_a_value_is_made_once_by_many_threads_and_the_oldest_goes():
    store, made = Store(2), []

    def make(key):
        made.append(key)
        return key

    threads = [threading.Thread(target=store.get, args=("a", lambda: make("a"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["a"]
    for key in "bac":
        store.get(key, lambda key=key: make(key))
    store.get("b", lambda: make("b"))
    assert made == ["a", "b", "c", "b"]


def test_a_failed_making_leaves_nothing_behind():
    store = Store(2)
    with pytest.raises(ZeroDivisionError):
        store.get("a", lambda: 1 // 0)
    assert store.get("a", lambda: 5) == 5
    assert store.get("a", lambda: 6) == 5
    assert store._making == {}


def test_values_go_when_they_weigh_too_much_but_the_last_stays(session):
    store = Store(9, most=10, weigh=len)
    for key, value in (("a", "12345"), ("b", "1234"), ("c", "1"), ("d", "123")):
        store.get(key, lambda value=value: value)
    assert [store.peek(key) for key in "abcd"] == [None, "1234", "1", "123"]
    assert store.get("e", lambda: "x" * 99) == "x" * 99
    assert [key for key in "abcde" if store.peek(key)] == ["e"]
    analysis = session.analysis(LION, "wild20")
    assert analysis.nbytes > analysis.view.F.nbytes + 3 * analysis.image.width * analysis.image.height


# ---- handlers ----------------------------------------------------------------------------------------------------


def test_the_shown_maps_are_those_of_the_library(session):
    analysis = session.analysis(LION, "wild20")
    value = Handlers(session).explain(LION, "wild20", "lion", "gradcam++")
    for column in value.info["columns"]:
        for clamp in (False, True):
            from bsoftmax import class_map

            S = class_map(analysis.view.evidence(column["source"], 13), "gradcam++", clamp)[0].numpy()
            shown = stored(value)[column["clamped" if clamp else "raw"]]
            np.testing.assert_allclose(shown, S, atol=1e-3 * np.abs(S).max())
    assert [c["source"] for c in value.info["columns"]] == list(SOURCES)


def test_bars_are_probabilities_and_hold_the_explained_class(session):
    value = Handlers(session).explain(LION, "wild20", "tench", "cam")
    p = session.analysis(LION, "wild20").view.logits("softmax").softmax(1)[0]
    for column in value.info["columns"]:
        assert len(column["bars"]) == 5
        assert any(bar["name"] == "tench" for bar in column["bars"])
    assert value.info["columns"][0]["bars"][0]["value"] == pytest.approx(p.max().item())
    json.dumps(value.info, allow_nan=False)


def test_any_picture_works_and_keeps_its_own_aspect(session, tmp_path):
    shapes = {"wide": (900, 300), "tall": (300, 900), "dot": (1, 1), "huge": (5000, 4000)}
    for name, size in shapes.items():
        path = tmp_path / f"{name}.png"
        Image.effect_noise(size, 80).save(path, compress_level=1)
        value = Handlers(session).analyse(str(path), "wild20")[0]
        w, h = value.info["image_size"]
        assert w / h == pytest.approx(size[0] / size[1], rel=0.01)
        assert max(w, h) <= 1024
        assert Image.open(value.image.path).size == (w, h)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"photo": None}, "no photograph"),
        ({"photo": "/nowhere/x.png"}, "upload it again"),
        ({"photo": __file__}, "not an image"),
        ({"model": "../../etc/passwd"}, "no model"),
        ({"chosen": "99"}, "no class '99'"),
        ({"chosen": "<b>"}, "no class"),
        ({"method": "nope"}, "no CAM method"),
        ({"file": "../x.exe"}, "no file"),
    ],
)
def test_bad_input_is_one_sentence(session, change, says):
    good = {"photo": LION, "model": "wild20", "chosen": "3", "method": "cam", "file": "maps.npz"}
    with pytest.raises(gr.Error, match=says) as caught:
        Handlers(session).export(**good | change)
    assert "Traceback" not in str(caught.value)


def test_offline_weights_name_the_file_to_bring(session, monkeypatch):
    from bsoftmax.models import backbones

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(backbones, "hf_hub_download", offline)
    with pytest.raises(gr.Error, match=r"model\.safetensors.*timm/resnet50\.tv_in1k.*save it as"):
        Handlers(session).explain(LION, "resnet50", 1, "cam")


def test_exports_hold_what_is_shown(session):
    handlers = Handlers(session)
    with np.load(handlers.export(LION, "wild20", "lion", "cam", "maps.npz"), allow_pickle=False) as file:
        assert set(file) == {"protocol"} | {f"{s}|{kind}" for s in SOURCES for kind in ("raw", "clamped")}
        assert json.loads(str(file["protocol"]))["class"] == "lion"
        assert file["softmax|raw"].shape == (14, 14)
    assert Image.open(handlers.export(LION, "wild20", "lion", "cam", "figure.png")).width > 900
    assert Path(handlers.export(LION, "wild20", "lion", "cam", "figure.pdf")).read_bytes()[:5] == b"%PDF-"
