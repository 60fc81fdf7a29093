"""The page as people and programs use it: handlers called directly, every endpoint, a visit in a real browser."""

import json
import threading
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from paths import ROOT
from PIL import Image
from toys import toy

from bsoftmax import METHODS, SOURCES
from demo.app.layout import build_app
from demo.app.theme import CSS, THEME
from demo.compare.handlers import Handlers
from demo.compare.present import overview
from demo.server.session import Session, Store

LION = gr.get_image("lion.jpg")
SHOTS = ROOT / "screenshots"


@pytest.fixture(scope="module")
def session():
    return Session()


@pytest.fixture(scope="module")
def url(session):
    app = build_app(session)
    app.launch(prevent_thread_lock=True, quiet=True, run_history=False, theme=THEME, css=CSS)
    yield app.local_url
    app.close()


@pytest.fixture(scope="module")
def client(url):
    return Client(url, verbose=False)


def stored(value):
    """The maps of a value as the browser reads them."""
    info = value["info"] if isinstance(value, dict) else value.info
    path = value["maps"] if isinstance(value, dict) else value.maps.path
    maps = np.frombuffer(Path(path).read_bytes(), "<f2").astype(np.float32).reshape(-1, *info["grid"])
    return maps * np.float32(info["scales"])[:, None, None]


# ---- the session -------------------------------------------------------------------------------------------------


def test_the_trunk_runs_once_a_picture_whatever_is_asked(session, monkeypatch):
    model, calls = session.model("wild20"), []
    forward = model.trunk.forward
    monkeypatch.setattr(model.trunk, "forward", lambda x: calls.append(len(x)) or forward(x))
    handlers = Handlers(Session())
    handlers.session._models = session._models  # the same open model, no looks yet
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


TRAINING = (
    "open_checkpoint", "bring_zip", "bring_sample", "bring_folder", "add_class", "plan", "train", "stop", "discard",
)  # fmt: skip
EVALUATION = ("evaluate", *(f"evaluate_{n}" for n in ("plan", "zip", "sample", "folder", "look", "stop", "discard")))

# ---- endpoints ---------------------------------------------------------------------------------------------------


def test_every_endpoint_answers(client):
    photo, seen = handle_file(LION), {}
    value, _, _ = client.predict(photo, "wild20", "cam", api_name="/compare")
    seen["compare"] = value["info"]["class"] == "lion"
    seen["explain"] = stored(client.predict(photo, "wild20", "lion", "cam", api_name="/explain")).shape == (6, 14, 14)
    seen["classify"] = client.predict(photo, "wild20", api_name="/classify")["label"] == "lion"
    for name in ("figure_png", "figure_pdf", "maps_npz"):
        path = Path(client.predict(photo, "wild20", "lion", "cam", api_name=f"/{name}"))
        seen[name] = path.stat().st_size > 1000 and path.suffix == "." + name.split("_")[1]
    seen["stand"] = "rms" in client.predict(photo, "wild20", "lion", "cam", api_name="/stand")
    seen["overview"] = len(client.predict(photo, "wild20", "lion", api_name="/overview")["info"]["rows"]) == len(
        METHODS
    )
    rows = client.predict(photo, "wild20", "lion", api_name="/overview_slow")["info"]["rows"]
    seen["overview_slow"] = all(cell["map"] is not None for row in rows for cell in row["cells"])
    # tried in test_train_browser.py, test_train_parts.py, test_evaluate_browser.py and test_evaluate_tab.py
    seen |= dict.fromkeys((*TRAINING, *EVALUATION), True)
    public = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {f"/{name}" for name in seen} == set(public)
    assert all(seen.values()), seen


def test_an_error_reaches_programs_as_a_sentence(client):
    with pytest.raises(Exception, match="no class 'unicorn'"):
        client.predict(handle_file(LION), "wild20", "unicorn", "cam", api_name="/explain")


# ---- a visit -----------------------------------------------------------------------------------------------------


def ready(page, beyond=0):
    page.wait_for_function(f"Number(document.querySelector('#compare [data-ready]')?.dataset.ready ?? 0) > {beyond}")
    return int(page.eval_on_selector("#compare [data-ready]", "e => e.dataset.ready"))


def pixels(page, source="softmax"):
    return page.evaluate(f"document.querySelector('#compare canvas[data-source={source}]').toDataURL()")


@pytest.fixture
def page(chromium, url, request):
    width, scheme = getattr(request, "param", (1280, "light"))
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    ready(page)
    yield page
    context.close()
    assert not errors


@pytest.mark.browser
@pytest.mark.parametrize("page", [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], indirect=True)
def test_the_page_opens_on_a_comparison(page):
    assert page.locator("#compare canvas.map:visible").count() == 2
    assert "cheetah" in page.locator("#compare").inner_text()
    boxes = [c.bounding_box() for c in page.locator("#compare canvas.map:visible").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    SHOTS.mkdir(exist_ok=True)
    width = page.viewport_size["width"]
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.screenshot(path=SHOTS / f"compare-{width}-{'dark' if dark else 'light'}.png", full_page=True)


@pytest.mark.browser
def test_an_upload_is_explained_and_the_view_costs_no_request(page):
    before, turn = pixels(page), ready(page)
    page.set_input_files("#photo input[type=file]", LION)
    turn = ready(page, turn)
    assert pixels(page) != before
    page.wait_for_function("document.querySelector('#class input').value === 'lion'")
    page.wait_for_timeout(500)
    requests, before = [], pixels(page)
    page.on("request", lambda request: requests.append(request.url))
    slider = page.locator("#compare input[data-view=opacity]")
    slider.focus()
    slider.press("End")
    page.wait_for_function(f"document.querySelector('#compare canvas[data-source=softmax]').toDataURL() !== '{before}'")
    for name in ("scale", "colours", "clamp"):
        page.locator(f"#compare select[data-view={name}]").select_option(index=1)
    page.wait_for_timeout(300)
    assert requests == []


@pytest.mark.browser
def test_a_method_and_a_class_can_be_chosen(page):
    turn, before = ready(page), pixels(page)
    page.locator("#method input").click()
    page.get_by_role("option", name="Grad-CAM++").click()
    turn = ready(page, turn)
    assert pixels(page) != before
    page.locator("#class input").click()
    page.get_by_role("option", name="golf ball").click()
    ready(page, turn)
    assert "golf ball" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_all_methods_and_back(page):
    turn = ready(page)
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_selector("#grid [data-ready]")
    assert page.locator("#grid tr.method").count() == len(METHODS)
    page.screenshot(path=SHOTS / "methods.png", full_page=True)
    page.locator("#grid tr.method[data-method='layercam']").click()
    page.wait_for_selector("#compare:visible")
    ready(page, turn)
    assert "Layer-CAM" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_a_download_comes_at_one_click(page):
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.locator("#get-npz").click()
    assert download.value.suggested_filename.endswith("maps.npz")


@pytest.mark.browser
def test_a_corrupt_file_is_refused_in_words_and_the_page_lives(page, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(LION).read_bytes()[:2000])
    turn = ready(page)
    page.set_input_files("#photo input[type=file]", broken)
    page.wait_for_selector("text=damaged")
    page.set_input_files("#photo input[type=file]", LION)
    ready(page, turn)


@pytest.mark.browser
@pytest.mark.parametrize("wanted", ["example=lion.jpg&class=tiger&method=gradcam%2B%2B", "class=19&method=layercam"])
def test_a_link_restores_the_page(chromium, url, wanted):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{url}?{wanted}")
    page.wait_for_function("document.querySelector('#compare')?.innerText.includes('Evidence for tiger')")
    page.wait_for_timeout(1500)  # nothing that comes later may undo it
    text = page.locator("#compare").inner_text()
    assert "Evidence for tiger" in text
    assert ("Grad-CAM++" if "gradcam" in wanted else "Layer-CAM") in text
    assert page.locator("#class input").input_value() == "tiger"
    context.close()


@pytest.mark.browser
def test_a_link_to_nowhere_is_a_sentence_and_the_page_lives(chromium, url):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{url}?model=unicorn&class=%3Cimg%20src=x%20onerror=alert(1)%3E")
    page.wait_for_selector("text=There is no model")
    ready(page)
    context.close()


@pytest.mark.browser
def test_a_distortion_can_be_taken_home(page):
    page.locator("#compare .collapse").click()
    page.wait_for_function("!document.querySelector('#compare .undo').disabled")
    for button, suffix in ((".figure", ".png"), (".sweep", ".gif")):
        with page.expect_download(timeout=60_000) as download:
            page.locator(f"#compare button{button}").click()
        assert download.value.suggested_filename.endswith(f"distorted{suffix}")
        assert Image.open(download.value.path()).size[0] > 300


@pytest.mark.browser
def test_the_page_says_where_the_head_stands(page):
    page.locator("#stand button").first.click()
    page.wait_for_selector("#stand td:has-text('softmax')")
    assert "rms" in page.locator("#stand").inner_text()


@pytest.mark.browser
def test_a_head_the_browser_cannot_distort_is_redrawn_by_the_server(page, session):
    model = toy("mlp", double=False)
    session._models.get("vgg16", lambda: model)
    turn = ready(page)
    page.get_by_role("button", name="Model").first.click()
    page.locator("#model input").click()
    page.get_by_role("option", name="vgg16").first.click()
    ready(page, turn)
    page.wait_for_function("document.querySelector('#compare').innerText.includes('Grad-CAM')")
    before = pixels(page), pixels(page, "sigmoid")
    page.locator("#compare .collapse").click()
    page.wait_for_function(
        f"document.querySelector('#compare canvas[data-source=softmax]').toDataURL() !== '{before[0]}'"
    )
    page.wait_for_timeout(500)
    assert pixels(page, "sigmoid") == before[1]
    assert page.locator("#compare .trouble:visible").count() == 0
    assert float(page.locator("#compare [data-out=dp]").inner_text().replace("−", "-")) < 1e-5


@pytest.mark.browser
def test_a_model_that_cannot_be_opened_gives_way_to_the_last(page, monkeypatch):
    from bsoftmax.models import backbones

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(backbones, "hf_hub_download", offline)
    page.get_by_role("button", name="Model").first.click()
    page.locator("#model input").click()
    page.get_by_role("option", name="resnet50").click()
    page.wait_for_selector("text=could not be downloaded")
    page.wait_for_function("document.querySelector('#model input').value === 'wild20'")
    assert "wild20" in page.locator("#compare").inner_text()
