"""The Compare tab's handlers called directly: what is shown is what the library computes; bad input is one sentence."""

import dataclasses
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from demo_made import LION, look_at, stored
from PIL import Image
from toys import small_model

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams import channels, pixels, rise
from bsoftmax.cams.copies import UnsuitedError
from demo.compare import handlers
from demo.compare.handlers import Handlers, ticker, to_browser
from demo.compare.present import method_choices, overview, present
from demo.distort import panel
from demo.methods.tab import GridHandlers
from demo.server.session import Analysis, Session, Store

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
        ({"method": "nope"}, "no method"),
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


# ---- methods without channel weights -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return look_at(small_model(("cat", "dog")), torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def test_a_map_at_pixels_is_shown_as_large_as_the_input_and_without_a_clamp(small):
    shown = present(small, 1, "saliency")
    assert shown.info["grid"] == [64, 64]
    assert len(shown.maps) == len(SOURCES)
    for n, column in enumerate(shown.info["columns"]):
        assert not column["clamp_applies"]
        assert column["raw"] == column["clamped"] == n
    assert "nothing to clamp" in shown.info["caption"]
    assert "distort" not in shown.info  # no slider moves it
    maps = stored(to_browser(small, shown))
    np.testing.assert_allclose(maps[0], shown.maps[0], atol=1e-3 * shown.maps[0].max())


def test_the_menu_has_every_method_that_suits_a_model_and_a_sentence_where_its_package_is_missing(small, monkeypatch):
    monkeypatch.setattr(pixels, "find_spec", lambda name: None)
    offered = [key for _, key in method_choices(small.model)]
    assert offered[: offered.index("scorecam") + 1] == [key for key in METHODS if not METHODS[key].more]
    assert "smoothgrad" in offered
    assert "rollout" not in offered
    assert "smoothgrad" not in small.methods
    with pytest.raises(ValueError, match=r"pip install 'bsoftmax\[captum\]'"):
        present(small, 1, "smoothgrad")


def test_what_was_added_to_the_grid_stays_when_more_is_added_to_the_same_class(session, small, monkeypatch):
    for module, name in ((rise, "MASKS"), (pixels, "STEPS"), (channels, "STEPS")):
        monkeypatch.setattr(module, name, 4)
    handlers, shown = GridHandlers(session), {"k": 1}
    fresh = look_at(small.model, small.view.x)  # nothing of it is kept yet
    monkeypatch.setattr(handlers, "explained", lambda *_: (fresh, shown["k"]))

    def asked(handler, added):
        data, added = handler(None, "toy", "dog", added)
        rows = {row["method"]: row["cells"][0]["map"] for row in data.info["rows"]}
        return rows["scorecam"] is not None, "rise" in rows, added

    *has, added = asked(handlers.overview_slow, None)
    assert has == [True, False]
    *has, both = asked(handlers.overview_more, added)
    assert has == [True, True]
    *has, _ = asked(handlers.overview_slow, both)
    assert has == [True, True]
    shown["k"] = 0  # of another class nothing was added yet
    *has, _ = asked(handlers.overview_slow, both)
    assert has == [True, False]


def test_the_grid_has_the_other_methods_when_they_are_asked_for(small, monkeypatch):
    monkeypatch.setattr(rise, "MASKS", 4)
    monkeypatch.setattr(pixels, "STEPS", 10)
    monkeypatch.setattr(channels, "STEPS", 2)
    told = []
    made = overview(small, 1, tick=lambda done, total: told.append(done / total), more=True)
    rows = {row["method"]: row["cells"] for row in made.info["rows"]}
    assert {"liftcam", "opticam", "rise", "saliency", "intgrad"} <= rows.keys()
    assert not {"liftcam", "rise"} & {row["method"] for row in overview(small, 1).info["rows"]}
    assert [cell["note"] for cell in rows["scorecam"]] == ["on request"] * len(SOURCES)
    assert made.info["grids"] == [list(S.shape) for S in made.maps]
    F = list(small.view.F.shape[2:])
    assert {tuple(made.info["grids"][cell["map"]]) for cell in rows["liftcam"]} == {tuple(F)}
    assert made.info["grids"][rows["rise"][0]["map"]] == [64, 64]
    assert told == sorted(told)  # one bar for all of them
    assert told[-1] == pytest.approx(1, abs=0.02)
    assert present(small, 1, "rise").info["columns"][2]["subtitle"] == "softmax probability of the frozen classifier"
    assert to_browser(small, made).info["scales"]


def test_a_method_that_finds_no_rule_while_it_runs_leaves_its_cells_empty_with_a_sentence(small, monkeypatch):
    def refused(evidence, tick):
        raise UnsuitedError("No rule.")

    monkeypatch.setitem(METHODS, "lrp", dataclasses.replace(METHODS["lrp"], weights=refused))
    monkeypatch.setattr(Analysis, "methods", ["cam", "lrp"])
    rows = overview(look_at(small.model, small.view.x), 1, more=True).info["rows"]  # nothing of it is kept
    assert [cell["note"] for cell in rows[1]["cells"]] == ["No rule."] * len(SOURCES)
    assert all(cell["map"] is None for cell in rows[1]["cells"])


def test_what_does_not_follow_a_shift_is_not_distorted(session):
    analysis = session.analysis(LION, "wild20")
    asked = {"photo": analysis.key, "class_index": 3, "method": "saliency", "uniform": 1.0}
    assert "does not follow a shift" in panel.redraw(session, asked)["error"]
    assert "rms" in panel.gauge_report(analysis, 13, "saliency")  # of the model's default method instead


def test_the_progress_bar_says_how_long_it_still_takes(monkeypatch):
    said, now = [], iter([0.0, 5.0, 7.0])
    monkeypatch.setattr(handlers, "time", SimpleNamespace(monotonic=lambda: next(now)))  # servers run beside this test
    tick = ticker(lambda at, desc: said.append((at, desc)), "passes")
    tick(0, 1)  # it waited for its turn
    tick(4, 12)  # and goes on where it was stopped
    tick(8, 12)
    assert said == [((0, 1), "passes"), ((4, 12), "passes"), ((8, 12), "passes, about 2 s left")]
