"""The browser's arithmetic against torch and OpenCV, and what the two components do with hostile text."""

import base64
import json

import cv2
import gradio as gr
import numpy as np
import pytest
import torch
from gradio.data_classes import FileData
from PIL import Image

from demo.components.canvas import STATIC, CompareCanvas, GridCanvas, MapData, colour_tables, in_text, pack_maps

MAPS = (STATIC / "components/maps.js").read_text(encoding="utf-8")
HOSTILE = ("<img src=x onerror=window.hacked=1>", "${window.hacked=2}", "{{constructor}}", "`${window.hacked=3}`")


# ---- packing -----------------------------------------------------------------------------------------------------


def unpack(data, scales, shape):
    stored = np.frombuffer(data, "<f2").reshape(shape).astype(np.float32)
    return stored * np.asarray(scales, np.float32)[:, None, None]


def test_packing_keeps_three_digits_at_any_magnitude():
    sizes = np.float32([1e-9, 1, 1e9])[:, None, None]
    maps = np.random.default_rng(0).normal(size=(3, 5, 7)).astype(np.float32) * sizes
    data, scales = pack_maps(maps)
    restored = unpack(data, scales, maps.shape)
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    assert (np.abs(restored - maps) / largest).max() < 2**-11
    assert scales == pytest.approx(largest.ravel().tolist())
    assert (np.sign(restored) == np.sign(maps)).all()


def test_packing_zero_and_broken_maps():
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1, 0, 0], maps[2, 0, 0] = np.nan, -np.inf
    data, scales = pack_maps(maps)
    json.dumps(scales, allow_nan=False)
    restored = unpack(data, scales, maps.shape)
    assert (restored[0] == 0).all()
    assert np.isnan(restored[1:, 0, 0]).all()


def test_packing_refuses_a_single_map():
    with pytest.raises(ValueError, match=r"\[P, Q\]"):
        pack_maps(np.zeros((2, 2)))


def test_colour_tables_are_256_rgb_triples():
    assert {len(base64.b64decode(table)) for table in colour_tables().values()} == {768}


def test_nothing_from_the_browser_is_trusted():
    assert CompareCanvas(render=False).preprocess({"anything": 1}) is None


# ---- arithmetic --------------------------------------------------------------------------------------------------


def call(page, expression, argument=None):
    return page.evaluate(f"x => {{ {MAPS}; return {expression}; }}", argument)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [(-0.03, -0.03, 29.4, "0"), (-0.06, -0.06, 29.4, "−0.1"), (0, 0, 1, "0"), (-412.4, -412.4, 3, "−412"),
     (0.00412, 0, 0.009, "4.1e−3"), (-0.4, -0.4, 120, "0")],
)  # fmt: skip
def test_numbers_have_the_decimals_of_their_range_and_zero_no_sign(page, value, low, high, text):
    assert call(page, "Maps.number(x[0], { lo: x[1], hi: x[2] })", [value, low, high]) == text


def blobs(seed, P=14, Q=14):
    """Two smooth bumps, one of them larger, over a slightly negative ground."""
    y, x = np.mgrid[0:P, 0:Q] / [[[P - 1]], [[Q - 1]]]
    centres = np.random.default_rng(seed).uniform(0.1, 0.9, (2, 2))
    heights = [(3.0, 0.15), (1.5, 0.08)]
    bumps = [h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s * s)) for (a, b), (h, s) in zip(centres, heights)]
    return (sum(bumps) - 0.2).astype(np.float32)


def upsampled(values, size=224):
    return torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=(size, size), mode="bicubic", align_corners=False
    )[0, 0]


def rectified(values):
    low, high = max(values.min(), 0), values.max()
    return (upsampled(values).clamp(low, high) - low) / (high - low)


def box_by_opencv(values, tau):
    """Strictly above int(tau * max) of the byte map, the largest 8-connected part, its extent."""
    levels = (rectified(values).numpy() * 255).astype(np.uint8)
    above = (levels > int(tau * levels.max())).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    return stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax(), :4].tolist()


@pytest.mark.browser
def test_float16_is_decoded_exactly(page):
    bits = np.arange(0, 2**16, 7, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float64)
    got = np.array(call(page, "x.map((b) => String(Maps.half(b)))", bits.tolist())).astype(np.float64)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.browser
def test_packed_file_comes_back(page):
    maps = np.stack([blobs(1), -blobs(2)])
    data, scales = pack_maps(maps)
    decode = "Maps.decode(Uint8Array.from(x[0]).buffer, x[1], x[2]).map((m) => [...m])"
    got = call(page, decode, [list(data), 196, scales])
    np.testing.assert_allclose(np.float32(got).reshape(maps.shape), maps, atol=2e-3)
    sizes = [maps[0], maps[1, :3, :5]]  # a grid beside a map of another size
    data, scales = pack_maps(sizes)
    for mine, theirs in zip(call(page, decode, [list(data), [196, 15], scales]), sizes):
        np.testing.assert_allclose(mine, theirs.ravel(), atol=2e-3)


@pytest.mark.browser
@pytest.mark.parametrize(("P", "Q", "size"), [(14, 14, 224), (7, 7, 224), (1, 1, 224), (2, 3, 112), (28, 28, 224)])
def test_upsampling_is_that_of_torch(page, P, Q, size):
    values = np.random.default_rng(P).normal(size=(P, Q)).astype(np.float32)
    argument = [values.ravel().tolist(), P, Q, size]
    got = call(page, "[...Maps.upsample(Float32Array.from(x[0]), x[1], x[2], x[3])]", argument)
    np.testing.assert_allclose(np.reshape(got, (size, size)), upsampled(values, size), atol=2e-5)


@pytest.mark.browser
@pytest.mark.parametrize("seed", range(4))
def test_rectified_and_box(page, seed):
    values = blobs(seed)
    script = """(() => {
      const field = Maps.field(Float32Array.from(x), [14, 14]);
      return { unit: [...Maps.rectified(field)], boxes: [0, 0.2, 0.5, 0.9].map((tau) => Maps.box(field, tau)) };
    })()"""
    got = call(page, script, values.ravel().tolist())
    np.testing.assert_allclose(np.reshape(got["unit"], (224, 224)), rectified(values), atol=1e-5)
    assert got["boxes"] == [box_by_opencv(values, tau) for tau in (0, 0.2, 0.5, 0.9)]


@pytest.mark.browser
def test_scales_blank_and_broken_maps(page):
    script = """(() => {
      const make = (...v) => Maps.field(Float32Array.from(v), [2, 2]);
      const fields = [make(-1, 2, 0, 1), make(-8, -1, -2, -3), make(NaN, 1, 1, 1), make(0, 4, 0, 1)];
      const ends = (scale) => Maps.limits(fields, scale);
      return { each: ends('each'), shared: ends('shared'), signed: ends('signed'), blank: fields.map((f) => f?.blank),
        top: fields[3].hi, box: Maps.box(fields[1], 0.2), flat: Math.max(...Maps.rectified(make(0.1, 0.1, 0.1, 0.1))) };
    })()"""
    got = call(page, script)
    assert got["blank"] == [False, True, None, False]
    assert got["box"] is None
    assert got["flat"] == 0
    assert got["each"][1:3] == [None, None]
    assert got["each"][3] == [0, got["top"]]
    assert got["shared"] == [[0, got["top"]], None, None, [0, got["top"]]]
    assert got["signed"] == [[-8, 8], [-8, 8], None, [-8, 8]]


@pytest.mark.browser
def test_the_difference_is_of_each_positive_part_over_its_own_maximum(page):
    maps = [blobs(3), 40 * blobs(4), -np.abs(blobs(5)) - 1]  # the last is blank
    script = """(() => {
      const fields = x.map((v) => Maps.field(Float32Array.from(v), [14, 14]));
      const at = (i, j) => Maps.difference(fields[i], fields[j]);
      return { values: [[0, 1], [1, 0], [0, 2], [2, 0]].map((ij) => [...at(...ij).values]),
        none: Maps.difference(null, fields[0]), again: at(0, 1) === at(0, 1), ends: [at(0, 1).lo, at(0, 1).hi] };
    })()"""
    got = call(page, script, [values.ravel().tolist() for values in maps])
    parts = [np.clip(upsampled(v).numpy(), max(v.min(), 0), v.max()) / v.max() for v in maps[:2]] + [
        np.zeros((224, 224))
    ]
    for values, (i, j) in zip(got["values"], [(0, 1), (1, 0), (0, 2), (2, 0)]):
        np.testing.assert_allclose(np.reshape(values, (224, 224)), parts[j] - parts[i], atol=1e-5)
    assert got["none"] is None
    assert got["again"]
    assert got["ends"] == pytest.approx([(parts[1] - parts[0]).min(), (parts[1] - parts[0]).max()], abs=1e-5)


# ---- the components in gradio ------------------------------------------------------------------------------------


def compare_info(scales, text):
    bars = [{"name": text, "value": 0.9, "text": "0.90"}, {"name": "tiger", "value": 0.1, "text": "0.10"}]
    column = {
        "source": "softmax",
        "title": "Softmax head",
        "subtitle": text,
        "raw": 0,
        "clamped": 1,
        "clamp_default": False,
        "clamp_applies": True,
        "bars": bars,
        "bars_label": text,
        "score_text": text,
    }
    untrained = {**column, "source": "sigmoid", "title": text, "raw": None, "clamped": None, "note": text}
    return {
        "grid": [14, 14],
        "scales": scales,
        "image_size": [60, 40],
        "class": text,
        "method": "cam",
        "method_label": text,
        "model": text,
        "identical": [text, "XGrad-CAM"],
        "caption": text,
        "columns": [column, untrained, {**column, "source": "log-odds", "title": "Log-odds"}],
    }


def grid_info(scales, text):
    cells = [{"source": "softmax", "map": 0, "note": ""}, {"source": "sigmoid", "map": None, "note": text}]
    row = {"method": text, "label": text, "note": f"identical to {text}", "class_free": True, "cells": cells}
    return {"grid": [14, 14], "scales": scales, "class": text, "rows": [row], "columns": ["Softmax head", text]}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A served page with both components, every text in them hostile."""
    folder, text = tmp_path_factory.mktemp("canvas"), " ".join(HOSTILE)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(folder / "photo.png")
    data, scales = pack_maps(np.stack([blobs(0), blobs(1)]))
    files = {"image": FileData(path=str(folder / "photo.png")), "maps": in_text(data)}
    with gr.Blocks() as demo:
        CompareCanvas(MapData(**files, info=compare_info(scales, text)), elem_id="compare")
        grid = GridCanvas(MapData(**files, info=grid_info(scales, text)), elem_id="grid")
        picked = gr.Textbox(elem_id="picked")
        grid.pick(_picked, None, picked)
    demo.launch(prevent_thread_lock=True, quiet=True, run_history=False, footer_links=[], allowed_paths=[str(folder)])
    yield demo.local_url
    demo.close()


def _picked(event: gr.EventData):
    return event.value


@pytest.fixture
def opened(chromium, address):
    page, errors = chromium.new_page(viewport={"width": 390, "height": 900}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#compare [data-ready='1']")
    page.wait_for_selector("#grid [data-ready='1']")
    yield page
    page.close()
    assert errors == []


@pytest.mark.browser
def test_hostile_text_stays_text(opened):
    text = " ".join(HOSTILE)
    opened.wait_for_timeout(300)
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("#compare .topic .class").text_content() == text
    assert opened.locator("#compare .note:visible").text_content() == text
    assert opened.locator("#grid .pick").text_content() == text
    assert opened.locator("#compare img, #grid img").count() == 0


@pytest.mark.browser
def test_a_picked_row_tells_python_its_method(opened):
    opened.locator("#grid .pick").click()
    opened.wait_for_function("document.querySelector('#picked textarea').value !== ''")
    assert opened.locator("#picked textarea").input_value() == " ".join(HOSTILE)


def pixels(page):
    return page.evaluate("document.querySelector('#compare canvas[data-source=softmax]').toDataURL()")


def changes(page, act):
    """Whether the picture changes after an action; the action must not ask the server for anything."""
    before, asked = pixels(page), []
    page.on("request", lambda request: asked.append(request.url))
    act()
    page.wait_for_timeout(150)
    assert asked == []
    return pixels(page) != before


@pytest.mark.browser
@pytest.mark.parametrize(("name", "value"), [("scale", "signed"), ("colours", "gray"), ("clamp", "on")])
def test_choices_redraw_without_the_server(opened, name, value):
    assert changes(opened, lambda: opened.locator(f"#compare [data-view={name}]").select_option(value))


@pytest.mark.browser
@pytest.mark.parametrize("name", ["opacity", "tau"])
def test_sliders_redraw_without_the_server(opened, name):
    assert changes(opened, lambda: opened.locator(f"#compare [data-view={name}]").press("End"))


@pytest.mark.browser
def test_arrow_keys_read_every_map(opened):
    canvas = opened.locator("#compare canvas[data-source=softmax]")
    assert changes(opened, lambda: canvas.press("ArrowLeft"))
    opened.wait_for_function("document.querySelector('#compare .live').textContent.includes('Softmax head')")
    shown = opened.locator("#compare .here").first.text_content()
    assert abs(float(shown.replace("−", "-"))) <= 4


@pytest.mark.browser
def test_the_view_is_kept_over_a_visit(opened):
    opened.locator("#compare [data-view=scale]").select_option("signed")
    opened.locator("#compare [data-view=opacity]").press("Home")
    opened.reload()
    opened.wait_for_selector("#compare [data-ready='1']")
    assert opened.locator("#compare [data-view=scale]").input_value() == "signed"
    assert opened.locator("#compare [data-view=opacity]").input_value() == "0"
    opened.locator("#compare .reset").click()
    assert opened.locator("#compare [data-view=colours]").input_value() == "turbo"


@pytest.mark.browser
def test_two_frames_side_by_side_fit_a_phone(opened):
    first, second = (opened.locator("#compare canvas.map").nth(i).bounding_box() for i in (0, 1))
    assert first["y"] == second["y"]
    assert (first["width"], first["height"]) == (second["width"], second["height"])
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_a_failed_download_is_said_in_a_sentence(chromium, address):
    page = chromium.new_page()
    page.route("**/*photo.png", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_selector("#compare .error:visible")
    assert "could not be loaded (the server answered 404)" in page.locator("#compare .error").text_content()
    page.close()
