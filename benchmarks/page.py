"""How long the page takes: a new photograph to both maps, and the app from `python app.py` to its first answer.

Protocol: the real app with the bundled model on this machine, one headless Chromium at 1280x800, 12 photographs that
the server has not seen (gradio's own pictures cropped and recoloured, JPEG, 0.5 to 2 megapixels), one after another,
each replacing the last, after three that are not counted. The clock is the browser's: it starts at the change event of
the upload input and stops when the element's `ready` counter goes up, in the task that draws. The parts are read from
the browser's resource timings: the upload request; from its end until the server's copy of the photograph is asked for
(the event's way through gradio's queue, the handler, the value with the maps back); fetching and drawing. The parts of
the handler are timed inside the server, in the same process as this script, by the wall clock and by the processor time
of their thread, which other work on the machine hardly stretches. For the start, processor time is the whole process's.

    python benchmarks/page.py [--photographs 12] [--port 8300] [--starts 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from statistics import median

import gradio as gr
import numpy as np
from PIL import Image, ImageEnhance
from playwright.sync_api import Page, sync_playwright
from timing import machine, table, verdict

from bsoftmax import DualBranch
from demo.app.layout import build_app
from demo.app.theme import CSS, THEME
from demo.compare import handlers as tab
from demo.server import session, trunks

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ("lion.jpg", "cheetah1.jpg", "tower.jpg", "groot.jpeg", "bus.png", "cheetah.jpg")
TARGET = 300
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
WARM = 3

WATCH = """() => {
  const find = setInterval(() => {
    const node = document.querySelector('#compare [data-ready]');
    if (!node) return;
    clearInterval(find);
    document.addEventListener('change', (event) => {
      if (!event.target.matches('#photo input[type=file]')) return;
      performance.clearResourceTimings();
      window.lap = { start: performance.now() };
    }, true);
    new MutationObserver(() => {
      if (window.lap && !window.lap.end) window.lap.end = performance.now();
    }).observe(node, { attributeFilter: ['data-ready'] });
    window.watching = true;
  }, 20);
}"""

PARTS = """() => {
  const { start, end } = window.lap, all = performance.getEntriesByType('resource');
  const upload = all.find((entry) => entry.name.includes('/upload?'));
  const maps = all.find((entry) => entry.name.includes('image.jpeg'));
  return { whole: end - start, upload: upload.responseEnd - start, server: maps.startTime - upload.responseEnd,
           draw: end - maps.startTime };
}"""


# ---- photographs ---------------------------------------------------------------------------------------------------


def photographs(folder: Path, count: int) -> list[Path]:
    """As many different JPEGs, of the sizes that people upload."""
    rng = np.random.default_rng(0)
    return [distorted(gr.get_image(PICTURES[i % len(PICTURES)]), folder / f"{i}.jpg", rng) for i in range(count)]


def distorted(source: str, path: Path, rng: np.random.Generator) -> Path:
    image = Image.open(source).convert("RGB")
    left, top, right, bottom = rng.uniform((0, 0, 0.85, 0.85), (0.15, 0.15, 1, 1))
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    height = int(rng.integers(600, 1200))
    image = image.resize((height * 4 // 3, height), Image.Resampling.BICUBIC, box=box)
    ImageEnhance.Color(image).enhance(rng.uniform(0.6, 1.4)).save(path, quality=88)
    return path


# ---- the server's parts --------------------------------------------------------------------------------------------


class Laps:
    """Milliseconds of named functions: (wall clock, processor time of the calling thread)."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def watch(self, owner: object, name: str, part: str) -> None:
        """Replaces `owner.name` by itself and a clock."""
        inner = getattr(owner, name)

        @wraps(inner)
        def timed(*args: object, **kwargs: object) -> object:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return inner(*args, **kwargs)
            finally:
                self.times[part].append((1000 * (time.perf_counter() - wall), 1000 * (time.thread_time() - cpu)))

        setattr(owner, name, timed)

    def take(self) -> dict[str, float]:
        """The longest of each since the last call, processor times as "<part>, cpu"."""
        taken = {part: max(times) for part, times in self.times.items()}  # an event without a photograph takes none
        self.times.clear()
        return {part: wall for part, (wall, _) in taken.items()} | {f"{p}, cpu": cpu for p, (_, cpu) in taken.items()}


def instrument(laps: Laps) -> None:
    laps.watch(tab.Handlers, "analyse", "handler")
    laps.watch(session, "read_rgb", "decode")
    laps.watch(DualBranch, "preprocess", "preprocess")
    laps.watch(trunks.TrunkLane, "run_next", "trunk")  # on the trunks' own thread
    laps.watch(tab, "present", "maps and numbers")
    laps.watch(tab, "to_browser", "what the browser gets")


# ---- the page ------------------------------------------------------------------------------------------------------


@contextmanager
def served(port: int) -> Iterator[str]:
    app = build_app(session.Session())
    options = {"theme": THEME, "css": CSS, "run_history": False}  # as app.py has it
    _, url, _ = app.launch(**options, server_port=port, prevent_thread_lock=True, quiet=True)
    try:
        yield url
    finally:
        app.close(verbose=False)


@contextmanager
def opened(url: str) -> Iterator[Page]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.evaluate(WATCH)
        page.wait_for_function("window.watching")
        yield page
        browser.close()


def lap(page: Page, photograph: Path, laps: Laps) -> dict[str, float]:
    """One photograph: the browser's times and the server's."""
    laps.take()
    page.evaluate("window.lap = null")
    page.locator("#photo input[type=file]").first.set_input_files(photograph)
    page.wait_for_function("window.lap?.end", timeout=60_000)
    page.wait_for_timeout(150)  # lets the event's tail (menus, preview) end before the next photograph
    return page.evaluate(PARTS) | laps.take()


def upload(count: int, port: int) -> None:
    laps = Laps()
    instrument(laps)
    with tempfile.TemporaryDirectory() as folder, served(port) as url, opened(url) as page:
        rows = [lap(page, path, laps) for path in photographs(Path(folder), WARM + count)][WARM:]
    times = {part: median(row.get(part, 0.0) for row in rows) for part in rows[0]}
    report(times, [row["whole"] for row in rows])


def report(times: dict[str, float], whole: list[float]) -> None:
    parts = ("decode", "preprocess", "trunk", "maps and numbers", "what the browser gets")
    print(
        f"\n**A new photograph to both maps** (median of {len(whole)}; range {min(whole):.0f} to {max(whole):.0f} ms)\n"
    )
    print(table(["", "ms", "processor ms", "target"], [
        ["change event to both maps drawn", f"{times['whole']:.0f}", "", verdict(times["whole"], TARGET)],
        ["upload request", f"{times['upload']:.0f}", "", ""],
        ["upload's end to the maps' address", f"{times['server']:.0f}", "", ""],
        ["- our handler", f"{times['handler']:.0f}", f"{times['handler, cpu'] + times['trunk, cpu']:.0f}", ""],
        *[[f"- - {part}", f"{times[part]:.1f}", f"{times[f'{part}, cpu']:.1f}", ""] for part in parts],
        ["- gradio: queue, value, events", f"{times['server'] - times['handler']:.0f}", "", ""],
        ["fetch and draw", f"{times['draw']:.0f}", "", ""],
    ]))  # fmt: skip


# ---- start ---------------------------------------------------------------------------------------------------------


def seconds(command: list[str], until: Callable[[subprocess.Popen], object], port: int) -> tuple[float, float]:
    """Wall clock and processor time of a process from its start until it satisfies a condition; then it is ended."""
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    before, start = children(), time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        until(process)
        wall = time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()
    return wall, children() - before


def children() -> float:
    """Processor seconds of the processes that this one has started and seen end."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def answers(port: int) -> Callable[[subprocess.Popen], None]:
    def wait(process: subprocess.Popen) -> None:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"app.py ended with code {process.returncode} before its page answered")

    return wait


def start(count: int, port: int) -> None:
    python = sys.executable
    made: dict[str, list[tuple[float, float]]] = defaultdict(list)
    imports = {
        "import torch": "import torch",
        "import torch, timm (with torchvision)": "import torch, timm",
        "all imports": "import demo.app.layout, demo.app.theme, demo.server.session",
        "and model, first comparison, layout": (
            "from demo.app import layout; from demo.server import session; layout.build_app(session.Session())"
        ),
    }
    for _ in range(count):
        for name, code in imports.items():
            made[name].append(seconds([python, "-c", code], subprocess.Popen.wait, port))
        made["python app.py until its page answers"].append(seconds([python, "app.py"], answers(port), port))
    print(f"\n**Start** (medians of {count}; each row contains those above it)\n")
    rows = [[name, *(f"{median(column):.1f}" for column in zip(*times))] for name, times in made.items()]
    print(table(["", "s", "processor s"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=12)
    parser.add_argument("--port", type=int, default=8300, help="this and the next one are used")
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    print(machine(os.cpu_count() or 1))
    upload(options.photographs, options.port)
    start(options.starts, options.port + 1)


if __name__ == "__main__":
    main()
