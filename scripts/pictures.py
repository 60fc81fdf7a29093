"""Draws README's pictures: docs/figures/app.png and docs/figures/collapse.gif.

    python scripts/pictures.py

Needs Playwright and Chromium; the photographs are Gradio's own. Starts the page on a free port and ends it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
PORT, WIDTH, HEIGHT = 7899, 1280, 940
FRAMES, MILLISECONDS = 16, 120
ADDRESS = f"http://127.0.0.1:{PORT}/"


def wait_for_page() -> None:
    """Until the page answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(ADDRESS, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The page did not answer within two minutes.")


def frames(page: Page) -> list[Image.Image]:
    """The frames of both maps and what is said of the answer, while the same number is subtracted from every weight."""
    page.locator(".further summary").click()
    slider = page.locator("#compare input[type=range][data-distort=uniform]")
    out = []
    for step in range(FRAMES):
        slider.evaluate(
            "(node, value) => { node.value = value; node.dispatchEvent(new Event('input', { bubbles: true })); }",
            round(100 * step / (FRAMES - 1)),
        )
        page.wait_for_timeout(120)
        shot = page.locator("#compare .frames").screenshot()
        picture = Image.open(io.BytesIO(shot)).convert("RGB")
        out.append(picture.resize((720, round(720 * picture.height / picture.width))).quantize(96))
    return out


def main() -> None:
    """Writes both files."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(PORT), "GRADIO_ANALYTICS_ENABLED": "False"}
    server = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for_page()
        with sync_playwright() as playwright:
            path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(f"{ADDRESS}?__theme=light")
            page.wait_for_selector("#compare [data-distort-ready]")
            page.wait_for_timeout(1000)
            page.screenshot(path=FIGURES / "app.png")
            first, *others = frames(page)
            order = [*others, *reversed(others)]
            first.save(
                FIGURES / "collapse.gif",
                save_all=True,
                append_images=order,
                duration=MILLISECONDS,
                loop=0,
                optimize=True,
            )
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
