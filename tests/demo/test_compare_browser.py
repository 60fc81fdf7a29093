"""A visit to the page in a real browser: comparisons, uploads, links, downloads, and what goes wrong."""

from pathlib import Path

import gradio as gr
import pytest
from demo_made import LION, SHOTS
from PIL import Image
from toys import toy

from bsoftmax import METHODS

LOOKS = {"wide": (1280, "light"), "narrow": (390, "dark")}


def ready(page, beyond=0):
    page.wait_for_function(f"Number(document.querySelector('#compare [data-ready]')?.dataset.ready ?? 0) > {beyond}")
    return int(page.eval_on_selector("#compare [data-ready]", "e => e.dataset.ready"))


def pixels(page, source="softmax"):
    return page.evaluate(f"document.querySelector('#compare canvas[data-source={source}]').toDataURL()")


@pytest.fixture(scope="module")
def pages(app, browse_long):
    """A wide page in light colours and a narrow one in dark, on which the tests go on one after another."""
    found = {
        name: browse_long(app.local_url, "#compare [data-ready]", False, {"width": width, "height": 900}, scheme)
        for name, (width, scheme) in LOOKS.items()
    }
    for page in found.values():
        ready(page)
    return found


@pytest.fixture
def page(pages, browse_long, request):
    """The page as the last test left it, but for colours, view and distortion, which are put back."""
    name = getattr(request, "param", "wide")
    page = pages[name]
    page.emulate_media(color_scheme=LOOKS[name][1])
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare .reset").click()
    if page.locator("#compare .undo").is_enabled():
        page.locator("#compare .undo").click()
    yield page
    assert not browse_long.errors


def open_models(page):
    if not page.locator("#model input").is_visible():
        page.get_by_role("button", name="Model").first.click()
    page.locator("#model input").click()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["wide", "narrow"], indirect=True)
def test_the_page_opens_on_a_comparison(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")
    assert page.locator("#compare canvas.map:visible").count() == 2
    assert "cheetah" in page.locator("#compare").inner_text()
    boxes = [c.bounding_box() for c in page.locator("#compare canvas.map:visible").all()]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if page.viewport_size["width"] == 390:  # what is asked comes before the answer
        photo, chosen, method = (page.locator(f"#{name}").bounding_box() for name in ("photo", "class", "method"))
        assert photo["x"] + photo["width"] < chosen["x"]
        assert photo["y"] - 1 <= chosen["y"] < method["y"]
        assert max(box["y"] + box["height"] for box in (photo, method)) < page.locator("#stage").bounding_box()["y"]
        assert photo["height"] < 200
    SHOTS.mkdir(exist_ok=True)
    width = page.viewport_size["width"]
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.screenshot(path=SHOTS / f"compare-{width}-{'dark' if dark else 'light'}.png", full_page=True)


@pytest.mark.browser
def test_a_download_comes_at_one_click(page):
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.locator("#get-npz").click()
    assert download.value.suggested_filename.endswith("maps.npz")


@pytest.mark.browser
def test_the_page_says_where_the_head_stands(page):
    page.locator("#stand button").first.click()
    page.wait_for_selector("#stand td:has-text('softmax')")
    assert "rms" in page.locator("#stand").inner_text()


def changed(page, before):
    page.wait_for_function(
        f"document.querySelector('#compare canvas[data-source=difference]').toDataURL() !== '{before}'"
    )


@pytest.mark.browser
@pytest.mark.parametrize("page", ["wide", "narrow"], indirect=True)
def test_the_difference_comes_and_goes_without_a_request_and_follows_what_is_shown(page):
    assert page.locator("#compare .difference:visible").count() == 0
    page.wait_for_timeout(500)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    blank = pixels(page, "difference")
    pill = page.locator("#compare .pill.differ")
    pill.click()
    changed(page, blank)
    boxes = [
        page.locator(f"#compare canvas[data-source={s}]").bounding_box() for s in ("softmax", "sigmoid", "difference")
    ]
    assert {round(box["width"]) for box in boxes} == {round(boxes[0]["width"])}
    assert {round(box["height"]) for box in boxes} == {round(boxes[0]["height"])}
    if page.viewport_size["width"] == 390:
        assert boxes[2]["y"] > boxes[1]["y"] + boxes[1]["height"]
    else:
        assert boxes[2]["y"] == boxes[0]["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    frame = page.locator("#compare figure.difference").inner_text()
    assert "sigmoid branch only" in frame
    assert "softmax head only" in frame
    before = pixels(page, "difference")
    page.locator("#compare select[data-view=clamp]").select_option("on")
    changed(page, before)
    before = pixels(page, "difference")
    page.locator("#compare .collapse").click()
    changed(page, before)
    page.locator("#compare canvas[data-source=softmax]").press("ArrowLeft")
    page.wait_for_function("document.querySelector('#compare .difference .here').textContent !== ''")
    pill.click()
    page.wait_for_function("document.querySelector('#compare .difference').hidden")
    assert asked == []


@pytest.mark.browser
def test_a_method_and_a_class_can_be_chosen(page):
    turn, before = ready(page), pixels(page)
    page.locator("#method input").click()
    page.get_by_role("option", name="Grad-CAM++").click()
    turn = ready(page, turn)
    assert pixels(page) != before
    page.locator("#class input").click()
    page.locator("#class input").fill("")
    page.locator("#class input").press_sequentially("golf ball", delay=40)  # one of a thousand
    page.get_by_role("option", name="golf ball").click()
    ready(page, turn)
    assert "golf ball" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_all_methods_and_back(page):
    turn = ready(page)
    page.get_by_role("tab", name="All methods").click()
    page.wait_for_selector("#grid [data-ready]")
    cams = [key for key, method in METHODS.items() if not method.more]
    assert page.locator("#grid tr.method").count() == len(cams) - 3  # four methods are one picture on this head
    page.locator("#grid tr[data-method='cam'] .enlarge").first.click()
    assert page.locator("#grid dialog[open] canvas").bounding_box()["width"] > 300
    assert "Grad-CAM, XGrad-CAM, HiRes-CAM, by construction" in page.locator("#grid dialog .legend").text_content()
    page.keyboard.press("Escape")
    page.screenshot(path=SHOTS / "methods.png", full_page=True)
    page.locator("#grid tr.method[data-method='layercam'] .pick").click()
    page.wait_for_selector("#compare:visible")
    ready(page, turn)
    assert "Layer-CAM" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_a_corrupt_file_is_refused_in_words_and_the_page_lives(page, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(LION).read_bytes()[:2000])
    turn = ready(page)
    page.set_input_files("#photo input[type=file]", broken)
    page.wait_for_selector("text=damaged")
    page.set_input_files("#photo input[type=file]", gr.get_image("tower.jpg"))
    ready(page, turn)


@pytest.mark.browser
def test_an_upload_is_explained_and_the_view_costs_no_request(page):
    before, turn, asked = pixels(page), ready(page), []
    page.on("request", lambda sent: asked.append(sent.post_data_json["data"]) if "/queue/join" in sent.url else None)
    page.set_input_files("#photo input[type=file]", LION)
    turn = ready(page, turn)
    assert pixels(page) != before
    assert sum(photo is not None for photo, *_ in asked) == 1  # gradio sends the event twice
    page.wait_for_function("document.querySelector('#class input').value.startsWith('lion')")
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
    page.locator("#class input").click()
    page.wait_for_function("document.querySelector('li[role=option]')?.innerText.includes('lion')")  # the first choice


@pytest.mark.browser
def test_a_model_that_cannot_be_opened_gives_way_to_the_last(page, monkeypatch):
    from bsoftmax.models import backbones

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(backbones, "hf_hub_download", offline)
    open_models(page)
    page.get_by_role("option", name="resnet50").click()
    page.wait_for_selector("text=could not be downloaded")
    page.wait_for_function("document.querySelector('#model input').value === 'imagenet'")
    assert "imagenet" in page.locator("#compare").inner_text()


@pytest.mark.browser
def test_a_distortion_can_be_taken_home(page):
    page.locator("#compare .collapse").click()
    page.wait_for_function("!document.querySelector('#compare .undo').disabled")
    for button, suffix in ((".figure", ".png"), (".sweep", ".gif")):
        with page.expect_download() as download:
            page.locator(f"#compare button{button}").click()
        assert download.value.suggested_filename.endswith(f"distorted{suffix}")
        assert Image.open(download.value.path()).size[0] > 300


@pytest.mark.browser
def test_a_head_the_browser_cannot_distort_is_redrawn_by_the_server(browse, app, session):
    model = toy("mlp", double=False)
    session._models.get("vgg16", lambda: model)
    page = browse(app.local_url, "#compare [data-ready]")
    turn = ready(page)
    open_models(page)
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
@pytest.mark.parametrize("wanted", ["example=lion.jpg&class=tiger&method=gradcam%2B%2B", "class=292&method=layercam"])
def test_a_link_restores_the_page(browse, app, wanted):
    page = browse(f"{app.local_url}?{wanted}", "#compare")
    page.wait_for_function("document.querySelector('#compare')?.innerText.includes('Evidence for tiger')")
    page.wait_for_timeout(1500)  # nothing that comes later may undo it
    text = page.locator("#compare").inner_text()
    assert "Evidence for tiger" in text
    assert ("Grad-CAM++" if "gradcam" in wanted else "Layer-CAM") in text
    assert page.locator("#class input").input_value().startswith("tiger (")


@pytest.mark.browser
def test_a_link_to_nowhere_is_a_sentence_and_the_page_lives(browse, app):
    page = browse(f"{app.local_url}?model=unicorn&class=%3Cimg%20src=x%20onerror=alert(1)%3E", "#compare")
    page.wait_for_selector("text=There is no model")
    ready(page)
