"""The Distort panel: the browser's arithmetic against torch's, and what a person sees who drags."""

import base64
import json
import re
import threading

import numpy as np
import pytest
import reference as ref

pytest.importorskip("gradio")

import gradio as gr
from gradio.data_classes import FileData
from PIL import Image
from toys import images, toy

from bsoftmax import METHODS, View, open_model
from bsoftmax.cams.effects import Distortion, distort
from bsoftmax.images.read import read_rgb
from demo.app.theme import THEME
from demo.compare import handlers
from demo.compare.present import present
from demo.components.canvas import STATIC, CompareCanvas, MapData, pack_maps
from demo.distort import panel
from demo.server.session import Analysis

SCRIPTS = "".join(
    (STATIC / name).read_text(encoding="utf-8")
    for name in ("components/maps.js", "distort/distort.js", "components/link.js")
)
PLAIN = {"channels": [], "delta": 0, "flip": 0, "uniform": 0, "centre": False, "only": False, "both": False}
KINDS = {
    "nothing": {},
    "one channel": {"channels": [1], "delta": 0.7},
    "two channels, darker": {"channels": [0, 3], "delta": -0.4},
    "flip half": {"flip": 50},
    "flip all": {"flip": 100},
    "uniform": {"uniform": 0.1},
    "centre": {"centre": True},
    "all at once": {"channels": [2], "delta": 0.3, "flip": 30, "uniform": 0.05, "centre": True},
    "one class only": {"channels": [1], "delta": 0.7, "only": True},
    "one class only, flipped": {"flip": 60, "only": True, "both": True},
    "both heads": {"channels": [1, 2], "delta": 0.5, "both": True},
    "both heads, uniform": {"uniform": 0.1, "both": True},
}

# Everything the panel computes for one head, method and list of distortions.
GOLDEN = """([pack, kinds]) => { SCRIPTS
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const F = Distort.features(bytes(pack.features), pack.feature_scale);
  const rows = Distort.vectors(bytes(pack.rows), pack.places);
  const maps = Maps.decode(bytes(pack.maps), pack.cells, pack.scales);
  const { k, method, branches, cells, class_free: free } = pack;
  const head = Distort.head(F, rows, { k, method, branches, cells, free });
  return kinds.map((s) => {
    const { d, logits, moves } = Distort.inject(head, s), out = { d: [...d], p: [], maps: {}, same: {} };
    for (const [branch, l] of Object.entries(logits)) out[branch] = [...l];
    out.p = [...Distort.softmax(logits.softmax)];
    out.dp = Distort.largestChange(Distort.softmax(head.logits.softmax), out.p);
    if (logits.sigmoid) out.loss = Distort.branchLoss(logits.sigmoid, pack.k);
    pack.columns.forEach(({ source, raw, clamped }) => [raw, clamped].forEach((index, positive) => {
      const alphas = (e) => Distort.alphas(head, source, e, Boolean(positive));
      const moved = moves[source] ? Distort.moved(maps[index], F, alphas(null), alphas(moves[source])) : maps[index];
      out.maps[`${source} ${positive}`] = [...moved];
      out.same[`${source} ${positive}`] = moved === maps[index];
    }));
    return out;
  });
}"""


def call(page, expression, argument=None):
    return page.evaluate(f"x => {{ {SCRIPTS}; return {expression}; }}", argument)


def look_at(model, x):
    return Analysis("key", "print", "toy", Image.new("RGB", (200, 150)), View(model, x))


def packed(analysis, k, method):
    """What the server sends, as JSON for the page."""
    made = present(analysis, k, method, live=False)
    data, scales = pack_maps(made.maps)
    features, feature_scale = panel.features_file(analysis)
    rows, places = panel.rows_file(analysis, k, method)
    files = {"maps": data, "features": features, "rows": rows}
    grid = made.info["grid"]
    return {name: base64.b64encode(content).decode() for name, content in files.items()} | {
        "scales": scales, "feature_scale": feature_scale, "places": places, "k": k, "method": method,
        "cells": grid[0] * grid[1], "columns": made.info["columns"], **panel.describe(analysis, k, method),
    }  # fmt: skip


def golden(page, analysis, k, method, kinds):
    pack = packed(analysis, k, method)
    assert pack["live"]
    return page.evaluate(GOLDEN.replace("SCRIPTS", SCRIPTS), [pack, [PLAIN | kind for kind in kinds]])


def close(got, kind, outcome, before):
    """Maps to a thousandth of their range, probabilities to a millionth."""
    p = outcome.logits_after["softmax"].double().softmax(0)
    assert np.abs(np.array(got["p"]) - p.numpy()).max() < 1e-6
    for branch, logits in outcome.logits_after.items():
        np.testing.assert_allclose(got[branch], logits, atol=2e-5, rtol=1e-5)
    for (source, clamp), S in outcome.after.items():
        S, S0 = S.flatten().numpy(), before[source, clamp].flatten().numpy()
        # a map is stored to 11 bits of its largest value, and what is added to it to 11 bits of F's
        size = max(np.ptp(S), np.ptp(S0), np.abs(S0).max(), np.abs(S - S0).max())
        error = np.abs(np.float32(got["maps"][f"{source} {int(clamp)}"]) - S).max()
        assert error <= 1e-3 * size, (source, clamp, kind, error / size)


def distortion(kind):
    return Distortion(**{**kind, "channels": tuple(kind.get("channels", ()))})


@pytest.mark.browser
@pytest.mark.parametrize("method", panel.LIVE)
@pytest.mark.parametrize("seed", range(3))
def test_random_heads_are_distorted_as_by_torch(page, method, seed):
    model = toy(maps="5x3", seed=seed, double=False)
    analysis = look_at(model, images(1, seed, double=False))
    k = seed % len(model.classes)
    got = golden(page, analysis, k, method, KINDS.values())
    for (name, kind), mine in zip(KINDS.items(), got):
        outcome = distort(analysis.view, k, method, distortion(kind))
        close(mine, name, outcome, outcome.before)


@pytest.fixture(scope="module")
def bundled():
    model = open_model("wild20")
    return look_at(model, model.preprocess(read_rgb(gr.get_image("lion.jpg"))))


@pytest.mark.browser
@pytest.mark.parametrize("method", panel.LIVE)
def test_the_bundled_model_is_distorted_as_by_torch(page, bundled, method):
    k = int(bundled.view.logits("softmax").argmax())
    kinds = {**KINDS, "strong": {"channels": [7], "delta": -1.6}, "collapse": {"uniform": 0.15}}
    for (name, kind), mine in zip(kinds.items(), golden(page, bundled, k, method, kinds.values())):
        outcome = distort(bundled.view, k, method, distortion(kind))
        close(mine, name, outcome, outcome.before)
        if not kind.get("only"):
            assert mine["dp"] <= 1e-6, name


@pytest.mark.browser
def test_what_must_not_move_is_the_array_the_server_sent(page, bundled):
    got = dict(zip(KINDS, golden(page, bundled, 3, "cam", KINDS.values())))
    for name, kind in KINDS.items():
        same = got[name]["same"]
        moved = {source for source in ("softmax", "sigmoid", "log-odds") if not same[f"{source} 0"]}
        expected = {"softmax"} if kind else set()
        expected |= {"log-odds"} if kind.get("only") else set()
        expected |= {"sigmoid"} if kind.get("both") else set()
        assert moved == expected, name


@pytest.mark.browser
@pytest.mark.parametrize("n", [1, 7, 100, 257])
def test_flipped_channels_are_those_of_the_core(page, n):
    w = np.round(np.random.default_rng(n).normal(size=n), 1).astype(np.float32)  # rounded: many are equal
    percents = [0, 1, 7, 10, 12.5, 33, 50, 99, 100]
    script = "x[1].map((flip) => [...Distort.shift({ ...Distort.NONE, flip }, { w: Float32Array.from(x[0]) })])"
    for percent, d in zip(percents, call(page, script, [w.tolist(), percents])):
        np.testing.assert_array_equal(d, ref.flip(w[None].astype(float), 0, percent))


@pytest.mark.browser
def test_measures_are_those_of_the_reference(page):
    rng = np.random.default_rng(0)
    pairs = [rng.integers(-3, 4, (2, 6, 5)).astype(float) for _ in range(6)] + [np.zeros((2, 6, 5))]
    script = "x.map(([a, b]) => [Distort.spearman(a, b), Distort.signChanges(a, b)].map(String))"
    got = call(page, script, [[a.ravel().tolist(), b.ravel().tolist()] for a, b in pairs])
    for (a, b), (rho, sign) in zip(pairs, got):
        assert float(rho) == pytest.approx(ref.spearman(a, b), abs=1e-12, nan_ok=True)
        assert float(sign) == pytest.approx(ref.sign_changes(a, b))
    boxes = rng.integers(1, 9, (20, 2, 4))
    for (a, b), got in zip(boxes, call(page, "x.map(([a, b]) => Distort.iou(a, b))", boxes.tolist())):
        corners = [(x, y, x + w - 1, y + h - 1) for x, y, w, h in (a.tolist(), b.tolist())]
        assert got == pytest.approx(ref.iou(*corners))
    assert call(page, "[Distort.iou(null, null), Distort.iou([0, 0, 2, 2], null)]") == [1, 0]


@pytest.mark.browser
def test_the_branch_loss_is_equation_12(page):
    for z in np.random.default_rng(1).normal(scale=4, size=(5, 7)):
        got = call(page, "Distort.branchLoss(Float64Array.from(x), 2)", z.tolist())
        assert got == pytest.approx(ref.branch_loss(z[None], [2]), rel=1e-9)
    assert call(page, "Distort.branchLoss([-800, 800], 0)") == pytest.approx(800)


@pytest.mark.browser
def test_the_brightest_background_is_where_there_is_little_evidence(page):
    assert call(page, "Distort.background([3, 1, 2, 9])") == [False, True, True, False]
    assert call(page, "Distort.background([2, 2, 2, 2])") == [False] * 4
    F = np.zeros((3, 4), np.float32)
    F[0, 0], F[1, 3], F[2, :] = 9, 5, 4
    head = "{ F: Float32Array.from(x.flat()), h: new Float32Array(3), cells: 4 }"
    got = call(page, f"[...Distort.backdrops({head}, [false, true, true, true])]", F.tolist())
    np.testing.assert_allclose(got, [-9, 5 / 3, 0], atol=1e-6)


@pytest.mark.browser
@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k]])
def test_a_link_brings_the_distortion_back(page, kind):
    s = PLAIN | KINDS[kind]
    info = {"model_name": "wild20", "method": "gradcam++", "class": "a & b", "example": None}
    search, back = call(
        page, "((q) => [q, Link.read(q)])(Link.write('?__theme=dark&flip=3', x[0], true, x[1]))", [s, info]
    )
    assert back == s
    assert "__theme=dark" in search
    assert "method=gradcam%2B%2B" in search
    assert "example" not in search


@pytest.mark.browser
def test_a_damaged_link_is_no_distortion(page):
    search = "?ch=1,x,1e9,-2,1&d=NaN&flip=900&u=Infinity&centre=yes"
    assert call(page, "Link.read(x)", search) == PLAIN | {"channels": [1], "flip": 100}


# ---- in the page -------------------------------------------------------------------------------------------------


def saved(folder, analysis, k, method, live=True):
    """A value for the component from a look, its files in a folder."""
    made = present(analysis, k, method, live=False)
    data, scales = pack_maps(made.maps)
    files = {"maps.f16": data}
    distort_info = panel.describe(analysis, k, method)
    if live:
        files["features.f16"], distort_info["feature_scale"] = panel.features_file(analysis)
        files["rows.f32"], distort_info["rows"] = panel.rows_file(analysis, k, method)
    distort_info["live"] = live
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (150, 200, 3), np.uint8)).save(folder / "photo.png")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    put = lambda name: FileData(path=str(folder / name)) if (folder / name).exists() else None
    info = made.info | {"scales": scales, "distort": distort_info, "photo_token": "token"}
    names = {"image": "photo.png", "maps": "maps.f16", "features": "features.f16", "rows": "rows.f32"}
    return MapData(info=info, **{field: put(name) for field, name in names.items()})


SERVED = {"prevent_thread_lock": True, "quiet": True, "run_history": False, "footer_links": [], "theme": THEME}


class Server:
    """A stub of `redraw` that keeps what it was asked, and may be held up."""

    def __init__(self, analysis):
        self.analysis, self.asked, self.go, self.now, self.most = analysis, [], threading.Event(), 0, 0
        self.go.set()

    def redraw(self, payload: dict) -> dict:
        """What demo.distort.panel.redraw does, without a session."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked.append(payload)
        self.go.wait(20)
        k, method, chosen = panel.parse(payload, self.analysis)
        outcome = distort(self.analysis.view, k, method, chosen)
        maps = {}
        for (source, clamp), S in outcome.after.items():
            maps.setdefault(source, {})["clamped" if clamp else "raw"] = S.flatten().tolist()
        self.now -= 1
        return {"maps": maps, "logits": {b: v.tolist() for b, v in outcome.logits_after.items()}, "channels": 7}


@pytest.fixture(scope="module")
def address(tmp_path_factory, bundled):
    """A page with the bundled model's panel, and what its buttons sent."""
    folder = tmp_path_factory.mktemp("lab")
    k = int(bundled.view.logits("softmax").argmax())
    with gr.Blocks() as demo:
        canvas = CompareCanvas(saved(folder, bundled, k, "cam"), elem_id="compare")
        told = gr.Textbox(elem_id="told", label="told")
        for name in ("figure", "sweep"):
            getattr(canvas, name)(_told, None, told)
    demo.launch(**SERVED, allowed_paths=[str(folder)])
    yield demo.local_url
    demo.close()


def _told(event: gr.EventData):
    return json.dumps(event._data)


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """The same with a head the browser cannot distort."""
    folder, model = tmp_path_factory.mktemp("remote"), toy("mlp", maps="5x3", double=False)
    analysis = look_at(model, images(1, double=False))
    server = Server(analysis)

    def redraw(payload: dict) -> dict:
        return server.redraw(payload)

    with gr.Blocks() as demo:
        CompareCanvas(saved(folder, analysis, 1, "gradcam", live=False), elem_id="compare", server_functions=[redraw])
    demo.launch(**SERVED, allowed_paths=[str(folder)])
    yield demo.local_url, server
    demo.close()


@pytest.fixture
def visit(chromium):
    """Opens pages, and checks at the end that no script failed on them."""
    errors, pages = [], []

    def opened(url, ready="#compare [data-lab='1']", **options):
        page = chromium.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        page.goto(url)
        page.wait_for_selector(ready)
        page.locator("#compare .pill").click()  # log-odds as well
        page.wait_for_timeout(100)
        return page

    yield opened
    for page in pages:
        page.close()
    assert errors == []


def pictures(page):
    """The pixels of every frame, by source, when all is drawn and told."""
    page.wait_for_timeout(250)
    frames = "[...document.querySelectorAll('#compare canvas.map')]"
    return page.evaluate(f"Object.fromEntries({frames}.map((c) => [c.dataset.source, c.toDataURL()]))")


def changed(before, after):
    return {source for source in before if before[source] != after[source]}


def out(page, name):
    return page.locator(f"#compare [data-out={name}]").text_content()


def quiet(page):
    """A list that fills with the addresses the page asks for."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


@pytest.mark.browser
def test_keys_move_the_softmax_map_and_nothing_else(visit, address):
    page = visit(address)
    asked, before = quiet(page), pictures(page)
    slider = page.locator("#compare input[type=range][data-lab=delta]")
    for _ in range(5):
        slider.press("PageUp")
    after = pictures(page)
    assert changed(before, after) == {"softmax"}
    assert page.locator("#compare .distorted:visible").count() == 1
    assert float(page.locator("#compare [data-out=dp]").get_attribute("data-value")) <= 1e-6
    assert out(page, "top") == "unchanged"
    assert float(out(page, "rho").replace("−", "-")) < 1
    assert re.search(r"δ = \d", page.locator("#compare .equation").text_content())
    page.locator("#compare .undo").click()
    assert pictures(page) == before
    assert page.locator("#compare .distorted:visible").count() == 0
    assert asked == []


@pytest.mark.browser
def test_a_drag_moves_the_softmax_map(visit, address):
    page = visit(address)
    asked, before = quiet(page), pictures(page)
    slider = page.locator("#compare input[type=range][data-lab=flip]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    assert changed(before, pictures(page)) == {"softmax"}
    assert asked == []


@pytest.mark.browser
def test_collapse_is_blank_and_says_why(visit, address):
    page = visit(address, reduced_motion="reduce")
    page.locator("#compare .collapse").click()
    page.wait_for_function("document.querySelector('#compare .see').textContent.includes('sign collapse')")
    pictures(page)
    assert "sign collapse" in page.locator("#compare .note:visible").text_content()
    assert page.locator("#compare input[type=number][data-lab=flip]").input_value() == "100"


@pytest.mark.browser
def test_into_both_heads_the_branch_moves_too(visit, address):
    page = visit(address)
    page.locator("#compare .further summary").click()
    page.locator("#compare input[type=range][data-lab=delta]").press("End")
    before, loss = pictures(page), out(page, "loss")
    page.locator("#compare select[data-lab=both]").select_option("1")
    assert changed(before, pictures(page)) == {"sigmoid"}
    assert "→" not in loss
    assert "→" in out(page, "loss")


@pytest.mark.browser
def test_one_class_only_moves_the_probabilities(visit, address):
    page = visit(address)
    page.locator("#compare .further summary").click()
    page.locator("#compare input[type=number][data-lab=flip]").fill("80")
    before = pictures(page)
    bars = page.locator("#compare .scores").first.text_content()
    page.locator("#compare [data-lab=only]").check()
    assert changed(before, pictures(page)) == {"log-odds"}
    assert float(page.locator("#compare [data-out=dp]").get_attribute("data-value")) > 1e-3
    assert page.locator("#compare .scores").first.text_content() != bars


@pytest.mark.browser
def test_channels_are_chosen_by_hand_and_by_number(visit, address):
    page = visit(address)
    assert page.locator("#compare .chip").count() == 1
    page.locator("#compare .chooser summary").click()
    page.wait_for_selector("#compare .thumb")
    assert page.locator("#compare .thumb").count() == 24
    page.locator("#compare .next").click()
    assert page.locator("#compare .thumb").count() == 48
    page.locator("#compare .search").fill("17")
    page.locator("#compare .search").press("Enter")
    assert page.locator("#compare .chip").count() == 2
    page.locator("#compare .visible").click()
    assert page.locator("#compare .chip").count() == 1
    assert page.locator("#compare .thumb").first.get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_play_moves_and_pause_stops(visit, address):
    page = visit(address)
    before = pictures(page)
    page.locator("#compare .play").click()
    page.wait_for_timeout(400)
    assert "softmax" in changed(before, pictures(page))
    page.locator("#compare .play").click()
    before = pictures(page)
    page.wait_for_timeout(200)
    assert pictures(page) == before


@pytest.mark.browser
def test_the_address_restores_the_picture(visit, address):
    page = visit(address)
    page.locator("#compare input[type=range][data-lab=delta]").press("End")
    page.locator("#compare input[type=range][data-lab=flip]").press("PageUp")
    page.wait_for_function("location.search.includes('flip=10')")
    again = visit(page.url)
    assert pictures(again) == pictures(page)
    assert again.locator("#compare input[type=number][data-lab=flip]").input_value() == "10"
    page.locator("#compare .undo").click()
    page.wait_for_function("!location.search.includes('flip')")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["figure", "sweep"])
def test_files_are_asked_for_with_the_state(visit, address, name):
    page = visit(address)
    page.locator("#compare input[type=number][data-lab=delta]").fill("0.25")
    page.locator(f"#compare .{name}").click()
    page.wait_for_function("document.querySelector('#told textarea').value !== ''")
    sent = json.loads(page.locator("#told textarea").input_value())
    assert sent["photo"] == "token"
    assert sent["method"] == "cam"
    assert sent["shift"]["delta"] == 0.25
    assert len(sent["shift"]["channels"]) == 1


AXE = "axe_playwright_python.sync_playwright"


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_in_the_panel(visit, address, theme, width):
    axe = pytest.importorskip(AXE).Axe()
    page = visit(f"{address}?__theme={theme}", viewport={"width": width, "height": 900}, reduced_motion="reduce")
    for name in ("further", "chooser"):
        page.locator(f"#compare .{name} summary").click()
    page.locator("#compare .brighten").click()
    page.wait_for_timeout(200)
    found = axe.run(page, context="#compare").response["violations"]
    assert [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_a_head_for_the_server_asks_once_at_a_time_and_the_last_value_wins(visit, remote):
    url, server = remote
    page = visit(url)
    before = pictures(page)
    server.go.clear()
    slider = page.locator("#compare input[type=range][data-lab=delta]")
    for _ in range(6):
        slider.press("PageUp")
    page.wait_for_timeout(300)
    assert len(server.asked) == 1
    server.go.set()
    page.wait_for_function("document.querySelector('#compare [data-out=dp]').dataset.value !== ''")
    page.wait_for_timeout(500)
    shown = float(page.locator("#compare input[type=number][data-lab=delta]").input_value())
    assert server.most == 1
    assert len(server.asked) <= 4
    assert server.asked[-1]["shift"]["delta"] == pytest.approx(shown, rel=1e-3)
    assert changed(before, pictures(page)) == {"softmax"}
    assert float(page.locator("#compare [data-out=dp]").get_attribute("data-value")) < 1e-5  # float32, logits of 60


def test_methods_the_browser_knows_are_the_quick_ones():
    assert set(panel.LIVE) == {key for key in METHODS if not METHODS[key].slow}
    assert handlers.EXAMPLES
