"""The time in the browser from uploading a zip of classes to both heads' maps of an image, and their accuracy.

Protocol: `python app.py` on this machine (its own process), headless Chromium at 1280x800. The zip holds cub10 as class
folders, its official split as train/ and val/. The clock starts when the file is put into the upload box, runs through
the preview (Train is pressed as soon as it is enabled), both stages with
the defaults, and stops when Compare has drawn both heads' maps of the first validation image.

    python benchmarks/journey.py [../shared/data] [--port 8310] [--shots FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

import timing
from playwright.sync_api import sync_playwright

from bsoftmax.data.layouts import read_data

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
TARGET = 120


def zipped(data, path):
    """cub10's two official splits as class folders."""
    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(path, "w") as archive:
        for name, images in read_data(data / "cub10", Path(work)).splits.items():
            for file, label in zip(images.paths, images.labels):
                archive.write(file, f"cub10/{'val' if name == 'test' else name}/{images.classes[label]}/{file.name}")
    return path


def served(port):
    """The running app, in its own process."""
    env = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return app
        except OSError:
            time.sleep(0.2)
    app.kill()
    raise SystemExit("the app did not answer within a minute")


def journey(page, zip_path, shots):
    """Seconds from the start at each step, and what the page says at the end."""
    page.wait_for_selector("#compare [data-ready]")
    before = page.get_attribute("#compare [data-ready]", "data-ready")
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#zip")
    start, steps = time.monotonic(), {}

    def reached(step):
        steps[step] = time.monotonic() - start
        if shots:
            page.screenshot(path=shots / f"{len(steps)}-{step.split()[0]}.png", full_page=True)

    page.set_input_files("#zip input[type=file]", zip_path)
    page.wait_for_selector("#train-go:not([disabled])", timeout=60_000)
    reached("preview")
    page.click("#train-go")
    page.wait_for_selector("#curves .vega-embed, #curves canvas", timeout=180_000)
    reached("curves")
    page.wait_for_selector("#see", timeout=180_000)
    outcome = page.inner_text("#outcome")
    reached("trained")
    page.click("#see")
    page.wait_for_function(
        "before => document.querySelector('#compare [data-ready]')?.dataset.ready !== before", arg=before
    )
    reached("compared")
    return steps, outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--port", type=int, default=8310)
    parser.add_argument("--shots", type=Path)
    options = parser.parse_args()
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        path, app = zipped(options.data, Path(work) / "cub10.zip"), served(options.port)
        try:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"http://127.0.0.1:{options.port}")
            steps, outcome = journey(page, path, options.shots)
            browser.close()
        finally:
            app.terminate()
            app.wait(30)
    print(timing.table(["reached", "s"], [[step, f"{seconds:.1f}"] for step, seconds in steps.items()]))
    print(next(line for line in outcome.splitlines() if "validation images" in line))
    print(f"zip to comparison: {steps['compared']:.0f} s, {timing.verdict(steps['compared'], TARGET)}")
    print(timing.machine(os.cpu_count()))


if __name__ == "__main__":
    main()
