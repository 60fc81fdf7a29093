"""The Distort panel: what a person sees who drags."""

import json
import re
import threading
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from demo_made import look_at
from gradio.data_classes import FileData
from PIL import Image
from toys import images, toy

from bsoftmax import METHODS
from bsoftmax.cams.effects import distort
from demo.app.theme import THEME
from demo.compare.present import present
from demo.components.canvas import CompareCanvas, MapData, in_text, pack_maps
from demo.distort import panel


def saved(folder, analysis, k, method, live=True):
    """A value for the component from a look, its files in a folder."""
    made = present(analysis, k, method, live=False)
    data, scales = pack_maps(made.maps)
    files = {"classes.json": json.dumps({"names": [c.replace("_", " ") for c in analysis.model.classes]}).encode()}
    distort_info = panel.describe(analysis, k, method)
    if live:
        files["features.f16"], distort_info["feature_scale"] = panel.features_file(analysis)
        rows, distort_info["rows"] = panel.rows_file(analysis, k, method)
    distort_info["live"] = live
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (150, 200, 3), np.uint8)).save(folder / "photo.png")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    put = lambda name: FileData(path=str(folder / name)) if (folder / name).exists() else None
    info = made.info | {"scales": scales, "distort": distort_info, "photo_token": "token"}
    info["classes"] = str(folder / "classes.json")
    names = {"image": "photo.png", "features": "features.f16"}
    given = {field: put(name) for field, name in names.items()}
    return MapData(info=info, maps=in_text(data), rows=in_text(rows) if live else None, **given)


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
        _, k, method, chosen = panel.parse(payload, SimpleNamespace(cached_analysis=lambda key: self.analysis))
        outcome = distort(self.analysis.view, k, method, chosen)
        maps = {}
        for (source, clamp), S in outcome.after.items():
            maps.setdefault(source, {})["clamped" if clamp else "raw"] = S.flatten().tolist()
        self.now -= 1
        return {"maps": maps, "logits": {b: v.tolist() for b, v in outcome.logits_after.items()}, "channels": 7}


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def address(tmp_path_factory, bundled, monkeypatch_module):
    """A page with the bundled model's panel, and what its buttons sent."""
    folder = tmp_path_factory.mktemp("panel")
    monkeypatch_module.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))  # visitors of the app empty the other
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
def remote(tmp_path_factory, monkeypatch_module):
    """The same with a head the browser cannot distort."""
    folder, model = tmp_path_factory.mktemp("remote"), toy("mlp", maps="5x3", double=False)
    monkeypatch_module.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
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
def visit(browse):
    """Opens pages with log-odds shown as well."""

    def opened(url, ready="#compare [data-distort-ready='1']", **options):
        page = browse(url, ready, **options)
        page.locator("#compare .pill:has(.more)").click()
        page.wait_for_timeout(100)
        return page

    return opened


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
    slider = page.locator("#compare input[type=range][data-distort=delta]")
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
    slider = page.locator("#compare input[type=range][data-distort=flip]")
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
    page.wait_for_function("document.querySelector('#compare .explanation').textContent.includes('sign collapse')")
    pictures(page)
    assert "sign collapse" in page.locator("#compare .note:visible").text_content()
    assert page.locator("#compare input[type=number][data-distort=flip]").input_value() == "100"


@pytest.mark.browser
def test_into_both_heads_the_branch_moves_too(visit, address):
    page = visit(address)
    page.locator("#compare .further summary").click()
    page.locator("#compare input[type=range][data-distort=delta]").press("End")
    before, loss = pictures(page), out(page, "loss")
    page.locator("#compare select[data-distort=both]").select_option("1")
    assert changed(before, pictures(page)) == {"sigmoid"}
    assert "→" not in loss
    assert "→" in out(page, "loss")


@pytest.mark.browser
def test_one_class_only_moves_the_probabilities(visit, address):
    page = visit(address)
    page.locator("#compare .further summary").click()
    page.locator("#compare input[type=number][data-distort=flip]").fill("80")
    before = pictures(page)
    bars = page.locator("#compare .scores").first.text_content()
    page.locator("#compare [data-distort=only]").check()
    assert changed(before, pictures(page)) == {"log-odds", "centred"}
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
    page.locator("#compare input[type=range][data-distort=delta]").press("End")
    page.locator("#compare input[type=range][data-distort=flip]").press("PageUp")
    page.wait_for_function("location.search.includes('flip=10')")
    again = visit(page.url, apart=True)
    assert pictures(again) == pictures(page)
    assert again.locator("#compare input[type=number][data-distort=flip]").input_value() == "10"
    page.locator("#compare .undo").click()
    page.wait_for_function("!location.search.includes('flip')")


@pytest.mark.browser
@pytest.mark.parametrize("name", ["figure", "sweep"])
def test_files_are_asked_for_with_the_state(visit, address, name):
    page = visit(address)
    page.locator("#compare input[type=number][data-distort=delta]").fill("0.25")
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
    slider = page.locator("#compare input[type=range][data-distort=delta]")
    for _ in range(6):
        slider.press("PageUp")
    page.wait_for_timeout(300)
    assert len(server.asked) == 1
    server.go.set()
    page.wait_for_function("document.querySelector('#compare [data-out=dp]').dataset.value !== ''")
    page.wait_for_timeout(500)
    shown = float(page.locator("#compare input[type=number][data-distort=delta]").input_value())
    assert server.most == 1
    assert len(server.asked) <= 4
    assert server.asked[-1]["shift"]["delta"] == pytest.approx(shown, rel=1e-3)
    assert changed(before, pictures(page)) == {"softmax"}
    assert float(page.locator("#compare [data-out=dp]").get_attribute("data-value")) < 1e-5  # float32, logits of 60


def test_methods_the_browser_knows_are_the_quick_ones():
    assert set(panel.BROWSER_METHODS) == {key for key in METHODS if not METHODS[key].slow and not METHODS[key].more}
