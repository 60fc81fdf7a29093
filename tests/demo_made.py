"""What tests of the page share: names that are markup, a request, a zip of colours, and what a tab was told."""

import base64
import time
import zipfile
from types import SimpleNamespace

import gradio as gr
import numpy as np
from paths import ROOT
from PIL import Image
from toys import coloured

from bsoftmax import View
from bsoftmax.models import zoo
from demo.components.canvas import STATIC
from demo.server.session import Analysis

LION = gr.get_image("lion.jpg")
SHOTS = ROOT / "screenshots"
MARKUP = "<img src=x onerror=alert(1)> ${7*7}"  # without a slash, so that a folder may be named so
HITS = "<img src=x onerror=window.hit=1> ${window.hit=2} {{x}}"  # says so where a browser runs it

SCRIPTS_OF_READOUT = "".join(
    (STATIC / name).read_text(encoding="utf-8")
    for name in ("components/words.js", "components/maps.js", "distort/distort.js", "components/readout.js")
)


READY = {
    "Train": "#preview .report p",
    "Evaluate": f"text=Model: {zoo.DEFAULT}. Bring images",
}


def open_tab(browse, app, width=1280, scheme="light", tab="Train", apart=False):
    """A page with a tab opened."""
    view = {"width": width, "height": 900}
    page = browse(app.local_url, "#compare [data-ready]", apart, view, scheme)
    page.get_by_role("tab", name=tab).click()
    page.wait_for_selector(READY[tab])
    return page


def guided(page, tab, box):
    """A tab without images says what will happen, and shows a finished example at one click."""
    assert page.locator(f"#{tab}-guide .steps svg:visible").count() == 4
    assert "birds.zip" in page.locator(f"#{tab}-guide pre").inner_text()
    label, icon = (page.locator(f"{box} {part}").first.bounding_box() for part in ("label", ".icon-wrap"))
    assert label["y"] + label["height"] <= icon["y"]
    page.locator(f"#{tab}-example > button").click()
    page.wait_for_selector(f"#{tab}-example table")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def until(true):
    """Waits ten seconds at most for something to become true."""
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)


def ask(owner="anna"):
    return SimpleNamespace(session_hash=owner, headers={"host": "127.0.0.1:7860"})


def zip_of_colours(root, count, red, more=()):
    """A zip of three colours, `count` pictures each, one class named as said; `more` are files besides."""
    coloured(root, {"all": count})
    path = root / "colours.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((root / "all").rglob("*.png")):
            archive.write(file, f"{red if file.parent.name == 'red' else file.parent.name}/{file.name}")
        for name, data in more:
            archive.writestr(name, data)
    return path


def blocks(update, name="preview", kind=None):
    return [b for b in update[name].blocks if kind in (None, b["kind"])]


def said(update, name="preview"):
    return " ".join(b["text"] for b in blocks(update, name, "text"))


def look_at(model, x):
    return Analysis("key", "print", "toy", Image.new("RGB", (200, 150)), View(model, x))


def stored(value):
    """The maps of a value as the browser reads them."""
    info = value["info"] if isinstance(value, dict) else value.info
    text = value["maps"] if isinstance(value, dict) else value.maps
    maps = np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32).reshape(-1, *info["grid"])
    return maps * np.float32(info["scales"])[:, None, None]
