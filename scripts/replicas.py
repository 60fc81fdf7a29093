"""Two replicas of the page behind nginx with docs/nginx.conf, tried as visitors use them.

    apt-get install nginx-light && python scripts/replicas.py

Starts two `bsoftmax app` with one folder of shared models, and nginx in front, on free ports. Checks that the page
opens under its root path, that every visitor stays on one replica, that a model put into the folder is opened by both,
and what becomes of the visitors of a replica that is killed. Prints a line for each; exit code 1 where one fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds until a replica answers; a few on a quiet machine
LION = gr.get_image("lion.jpg")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(*command: str, **more: str) -> Iterator[subprocess.Popen]:
    """A process that ends with the block."""
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **more}) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(address: str) -> None:
    """Waits until an address answers 200. Raises RuntimeError after PATIENCE seconds."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(address).status_code == 200:
                return
        time.sleep(0.5)
    raise RuntimeError(f"{address} does not answer.")


def answered(port: int, handler: str = "classify") -> int:
    """How many calls of a handler a replica has answered, by its own /metrics; 0 when it is gone."""
    with contextlib.suppress(httpx.TransportError):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        found = re.search(rf'requests_total\{{handler="{handler}"\}} (\d+)', text)
        return int(found.group(1)) if found else 0
    return 0


def classify(client: Client, model: str = "imagenet") -> str:
    """The class that a visitor's photograph gets."""
    return client.predict(handle_file(LION), model, api_name="/classify")["classes"][0]["class"]


def check(true: bool, words: str) -> None:
    """Prints what holds; ends the program when it does not."""
    print(("ok    " if true else "FAILS ") + words, flush=True)
    if not true:
        sys.exit(1)


def try_page(address: str) -> None:
    """The page under the root path: its HTML, its cookie, what is not to be had."""
    answer = httpx.get(f"{address}/")
    check(answer.status_code == 200 and f'"root":"{address}"' in answer.text, f"the page opens at {address}/")
    check("replica=" in answer.headers.get("set-cookie", ""), "it sets the cookie that chooses a replica")
    check(httpx.get(f"{address}/metrics").status_code == 404, "/metrics is not to be had through the proxy")


@contextlib.contextmanager
def browsing(address: str) -> Iterator[Page | None]:
    """The page in a browser, its maps drawn; None where there is no Chromium."""
    browser = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if not browser:
        print("-     no Chromium here: not tried in a browser")
        yield None
        return
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.set_default_timeout(120_000)
        failed: list[str] = []
        page.on("response", lambda r: failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.goto(address)
        page.wait_for_selector("#compare [data-ready]")
        check(not failed, f"a browser draws the maps; requests that failed: {failed}")
        yield page


def home_of(page: Page, ports: list[int]) -> int:
    """The place of the replica that a browser is on, by who analyses the example that it chooses."""
    before = [answered(port, "analyse") for port in ports]
    page.locator("#examples button").nth(1).click()
    for _ in range(PATIENCE):
        moved = [answered(port, "analyse") - n for port, n in zip(ports, before)]
        if any(moved):
            return moved.index(max(moved))
        time.sleep(1)
    raise RuntimeError("No replica saw the browser's example.")


def try_lost_page(page: Page) -> None:
    """What a browser shows whose replica was killed, and after it has loaded the page again."""
    page.locator("#examples button").nth(2).click()
    page.get_by_text("has ended, and what you had brought").wait_for()
    check(True, "its browser is told that the server has ended, and to load the page again")
    page.reload()
    page.wait_for_selector("#compare [data-ready]")
    check(True, "loaded again, the page draws its maps on the other")


def try_stickiness(address: str, ports: list[int]) -> dict[int, Client]:
    """A visitor on each replica; each stays there."""
    homes: dict[int, Client] = {}
    for _ in range(20):
        client, before = Client(address, verbose=False, analytics_enabled=False), [answered(port) for port in ports]
        names = {classify(client) for _ in range(3)}
        moved = [answered(port) - n for port, n in zip(ports, before)]
        check(sorted(moved) == [0, 3] and names == {"lion"}, f"three calls of a visitor, by replica: {moved}, {names}")
        homes.setdefault(ports[moved.index(3)], client)
        if len(homes) == len(ports):
            return homes
    check(False, "twenty visitors came to one replica")
    return homes


def main() -> None:
    """Starts everything and tries it."""
    ports, front = [free_port(), free_port()], free_port()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)  # nginx keeps uploads there, as another user when root starts it
        shared = Path(folder) / "models"
        shared.mkdir()
        conf = (ROOT / "docs" / "nginx.conf").read_text()
        for old, new in zip((7861, 7862, 8080), (*ports, front)):
            conf = conf.replace(f":{old}", f":{new}")
        (Path(folder) / "nginx.conf").write_text(conf)
        apps = [
            stack.enter_context(running(
                sys.executable, "-m", "bsoftmax", "app", "--port", str(port), "--root-path", "/bsoftmax", "--operation",
                "--share-models", str(shared),
            )) for port in ports
        ]  # fmt: skip
        for port in ports:
            wait_for(f"http://127.0.0.1:{port}/health")
        stack.enter_context(running("nginx", "-p", folder, "-c", f"{folder}/nginx.conf"))
        address = f"http://127.0.0.1:{front}/bsoftmax"
        wait_for(address + "/")
        try_page(address)
        page = stack.enter_context(browsing(address))
        homes = try_stickiness(address, ports)
        comparison = homes[ports[0]].predict(handle_file(LION), "imagenet", "cam", api_name="/page_compare")
        check("maps" in str(comparison), "a comparison through gradio_client")
        try_sharing(shared, homes)
        try_loss(apps, ports, homes, page)


def try_sharing(shared: Path, homes: dict[int, Client]) -> None:
    """A model that one program puts into the shared folder opens on both replicas."""
    shutil.copy(ROOT / "checkpoints" / "wild20.safetensors", shared / "partial")
    (shared / "partial").rename(shared / "cats.safetensors")
    seen = [classify(client, "cats") for client in homes.values()]
    check(seen == ["lion", "lion"], f"a model put into the shared folder answers on both replicas: {seen}")


def try_loss(apps: list[subprocess.Popen], ports: list[int], homes: dict[int, Client], page: Page | None) -> None:
    """One replica is killed: that of the browser."""
    n = home_of(page, ports) if page else 0
    apps[n].send_signal(signal.SIGKILL)
    apps[n].wait()
    check(classify(homes[ports[n]]) == "lion", "a replica is killed: its visitor is served by the other")
    check(classify(homes[ports[1 - n]]) == "lion", "the other's visitor notices nothing")
    if page:
        try_lost_page(page)


if __name__ == "__main__":
    main()
