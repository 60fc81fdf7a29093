"""How fast the Distort panel follows a drag, in a real Chromium, with numbers the size of ResNet-50's on ImageNet.

Protocol: one page with nothing but the Compare tab's component, served by gradio on this machine; F [2048,14,14] and
1000 classes of random numbers, two frames, headless Chromium at 1280x900. Latency: `--moves` key presses, one every
100 ms; the clock starts at the time stamp of the browser's input event and stops in the first animation frame
in which pixels read back from the softmax canvas have changed: half a frame, 8 ms, is the least possible on average.
Rate: a new value in every animation frame for three seconds, five times, the median; drawings of the softmax frame are
counted (an unchanged one is not drawn), with and without Chromium's sixfold CPU throttling. Requests are counted over
everything.

    python benchmarks/drag.py [--moves 60] [--port 8310]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import gradio as gr
import numpy as np
from gradio.data_classes import FileData
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from timing import machine, table, verdict

from demo.components.canvas import CompareCanvas, MapData, pack_maps

N, P, Q, C, K = 2048, 14, 14, 1000, 7
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
MEDIAN_TARGET, P95_TARGET, RATE_TARGET = 17, 34, 20
WINDOWS = 5
CASES = {"one channel": "delta", "uniform shift": "uniform"}

PIXELS = """() => {
  const canvas = document.querySelector('#compare canvas[data-source=softmax]'), ctx = canvas.getContext('2d');
  window.pixels = () => {
    const { width, height } = canvas, part = ctx.getImageData(width >> 2, height >> 2, width >> 1, 24);
    const data = new Uint32Array(part.data.buffer);
    let sum = 0;
    for (let i = 0; i < data.length; i++) sum = (sum * 31 + data[i]) | 0;
    return sum;
  };
  window.drawings = 0;
  const clear = ctx.clearRect; // a drawing clears the canvas first
  ctx.clearRect = function (...box) { window.drawings++; clear.apply(this, box); };
  window.times = [];
  let last = window.pixels();
  document.addEventListener('input', (event) => { // after the component's own listener, so that its drawing comes first
    let frames = 0;
    const look = () => {
      const now = performance.now(), seen = window.pixels();
      if (seen !== last && window.timing) window.times.push(now - event.timeStamp);
      else if (seen === last && ++frames < 60) requestAnimationFrame(look);
      last = seen;
    };
    if (window.timing !== undefined) requestAnimationFrame(look);
  });
}"""

RATE = """(name) => new Promise((done) => {
  const slider = document.querySelector(`#compare input[type=range][data-distort=${name}]`), start = performance.now();
  const before = window.drawings;
  let n = 0;
  const frame = (now) => {
    if (now - start > 3000) return done(1000 * (window.drawings - before) / (now - start));
    slider.value = 10 + (n++ * 7) % 80;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})"""


def value(folder: Path) -> MapData:
    """What the server sends for such a model: random features, most of whose channels are nearly 0."""
    rng = np.random.default_rng(0)
    F = np.maximum(rng.normal(size=(N, P, Q)) + rng.normal(size=(N, 1, 1)) - 1, 0).astype(np.float32)
    h = F.mean((1, 2))
    weights = {branch: rng.normal(0, 0.03, (C, N)).astype(np.float32) for branch in ("softmax", "sigmoid")}
    sources = {"softmax": "softmax", "sigmoid": "sigmoid", "log-odds": "softmax"}
    vectors, maps, columns = {"h": h}, [], []
    for branch, w in weights.items():
        vectors |= {f"logits:{branch}": w @ h, f"mean:{branch}": w.mean(0), f"w:{branch}": w[K]}
    for source, branch in sources.items():
        row = vectors[f"row:{source}"] = weights[branch][K]
        columns.append(
            {"source": source, "title": source, "raw": len(maps), "clamped": len(maps) + 1, "clamp_applies": True}
            | {"clamp_default": source == "sigmoid", "bars": [{"name": f"class {j}", "value": 0.2} for j in range(5)]}
        )
        maps += [np.einsum("n,npq->pq", alpha, F) for alpha in (row, np.maximum(row, 0))]
    places, at = {}, 0
    for name, vector in vectors.items():
        places[name], at = [at, len(vector)], at + len(vector)
    data, scales = pack_maps(np.stack(maps))
    files = {"maps": data, "features": (F / F.max()).astype("<f2").tobytes()}
    files["rows"] = np.concatenate(list(vectors.values())).astype("<f4").tobytes()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    Image.fromarray(rng.integers(0, 255, (750, 1000, 3), np.uint8)).save(folder / "image.jpg")
    info = {"grid": [P, Q], "scales": scales, "columns": columns, "class": f"class {K}", "class_index": K}
    info |= {"method": "cam", "method_label": "CAM", "model": "random · resnet50"}
    info["distort"] = {
        "live": True, "class_free": False, "channels": N, "classes": [f"class {j}" for j in range(C)],
        "branches": sources, "feature_scale": float(F.max()), "rows": places,
    }  # fmt: skip
    return MapData(
        image=FileData(path=str(folder / "image.jpg")), info=info, **{n: FileData(path=str(folder / n)) for n in files}
    )


@contextmanager
def opened(port: int) -> Iterator[Page]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        with gr.Blocks() as demo:
            CompareCanvas(value(Path(folder)), elem_id="compare")
        demo.launch(prevent_thread_lock=True, quiet=True, run_history=False, server_port=port, allowed_paths=[folder])
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(demo.local_url)
        page.wait_for_selector("#compare [data-distort-ready='1']", timeout=120_000)
        page.locator("#compare .further summary").click()
        page.evaluate(PIXELS)
        yield page
        browser.close()
        demo.close(verbose=False)


def latencies(page: Page, name: str, moves: int) -> list[float]:
    """Milliseconds from the input event to changed pixels, for every key press."""
    slider = page.locator(f"#compare input[type=range][data-distort={name}]")
    page.evaluate("() => { window.times = []; window.timing = false; }")
    slider.press("Home")
    for _ in range(6):
        slider.press("ArrowRight")
    page.wait_for_timeout(300)
    page.evaluate("window.timing = true")
    for n in range(moves):  # out and back: beyond the blank map there is nothing more to see
        slider.press("ArrowLeft" if n // 40 % 2 else "ArrowRight")
        page.wait_for_timeout(100)
    page.evaluate("window.timing = undefined")
    times = page.evaluate("window.times")
    if len(times) < moves:
        print(f"{name}: {moves - len(times)} of {moves} moves changed no pixel within 60 frames")
    return times


def throttled(page: Page, name: str, rate: int) -> float:
    """Pictures a second under Chromium's CPU throttling."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    rates = [page.evaluate(RATE, name) for _ in range(WINDOWS)]
    session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    page.locator("#compare .undo").click()
    return median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--port", type=int, default=8310)
    options = parser.parse_args()
    print(machine(os.cpu_count() or 1))
    rows, requests = [], []
    with opened(options.port) as page:
        page.wait_for_timeout(1000)
        page.on("request", lambda request: requests.append(request.url))
        for label, name in CASES.items():
            times = sorted(latencies(page, name, options.moves))
            p95 = times[int(0.95 * (len(times) - 1))]
            full, slow = (throttled(page, name, rate) for rate in (1, 6))
            cells = [(median(times), MEDIAN_TARGET), (p95, P95_TARGET)]
            rows.append([label, len(times), *(f"{ms:.1f} ({verdict(ms, target)})" for ms, target in cells)])
            rows[-1] += [f"{full:.0f}", f"{slow:.0f} ({verdict(slow, RATE_TARGET, least=True)})"]
    print(f"\n**A drag, F [{N},{P},{Q}], {C} classes** ({len(requests)} requests to the server)\n")
    print(table(["", "moves", "median ms", "p95 ms", "updates/s", "updates/s, CPU 6x slower"], rows))


if __name__ == "__main__":
    main()
