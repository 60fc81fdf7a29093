"""Many visitors at once: errors, seconds until an answer, answers that belong to another visitor, memory of the server.

Every client uploads photographs of its own (an example with a random comment, so that no two files are equal) and
draws what it asks for: a new photograph compared (4 of 10), another class (3), the answers of the head (2), all methods
(1), without a pause. An answer is checked by the SHA-256 of the photograph in it, and by the class of its example.
Server and clients share the cores unless told otherwise; the server's processor time is hardly stretched by others.

    python benchmarks/load.py --clients 30 --seconds 60
    python benchmarks/load.py --server-cores 0,1                 # the clients on the others
    python benchmarks/load.py --clients 10 --comparisons 1000    # memory from the 300th to the 1,000th comparison
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("cheetah1.jpg", "lion.jpg", "tower.jpg")
ASKED = {"compare": 4, "explain": 3, "classify": 2, "overview": 1}


class Load:
    """What all clients have seen so far."""

    def __init__(self, address, pid, comparisons=None):
        self.address, self.pid, self.comparisons = address, pid, comparisons
        self.seconds, self.errors, self.crossed, self.memory = defaultdict(list), [], 0, {}
        self.classes = {}  # what each example is, by the first answer

    def saw(self, kind, seconds):
        self.seconds[kind].append(seconds)
        done = len(self.seconds["compare"])
        if kind == "compare" and done % 100 == 0:
            self.memory[done] = memory(self.pid)
            print(f"{done} comparisons, {self.memory[done]:.0f} MB", file=sys.stderr)


def processor(pid):
    """Processor seconds of a process, which other work on the machine hardly stretches."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    """Resident megabytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@cache
def example(name):
    """An example as JPEG, 640 pixels at most."""
    image, out = Image.open(gr.get_image(name)).convert("RGB"), io.BytesIO()
    image.thumbnail((640, 640))
    image.save(out, "JPEG")
    return out.getvalue()


def photograph(rng):
    """An example's name, and a JPEG nobody else has: the example with a comment, so that the clients cost little."""
    name = EXAMPLES[rng.integers(len(EXAMPLES))]
    content = example(name)
    return name, content[:2] + b"\xff\xfe\x00\x12" + rng.bytes(16) + content[2:]


async def call(http, api, data, session):
    """The answer of an endpoint. Raises RuntimeError with its error."""
    started = await http.post(f"/gradio_api/call/{api}", json={"data": data, "session_hash": session})
    if started.status_code != 200:
        raise RuntimeError(f"{api}: {started.status_code} {started.text[:200]}")
    async with http.stream("GET", f"/gradio_api/call/{api}/{started.json()['event_id']}") as answer:
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: ") and kind in ("complete", "error"):
                if kind == "error":
                    raise RuntimeError(f"{api}: {line[6:200]}")
                return json.loads(line[6:])
    raise RuntimeError(f"{api}: the answer ended early")


class Client:
    """One visitor."""

    def __init__(self, number, load):
        self.rng, self.load, self.session = np.random.default_rng(number), load, f"load{number}"
        self.photo, self.sha, self.example = None, "", ""

    async def upload(self, http):
        self.example, content = photograph(self.rng)
        self.sha = hashlib.sha256(content).hexdigest()
        answer = await http.post("/gradio_api/upload", files={"files": (f"{self.sha[:8]}.jpg", content, "image/jpeg")})
        self.photo = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    async def step(self, http, model):
        kind = self.rng.choice(list(ASKED), p=np.array(list(ASKED.values())) / sum(ASKED.values()))
        if self.photo is None or self.load.comparisons or kind == "compare":
            kind = "compare"
            await self.upload(http)
        more = {"compare": ["cam"], "explain": ["lion", "cam"], "classify": [5], "overview": ["lion"]}[kind]
        begin = time.monotonic()
        name = kind if kind == "classify" else f"page_{kind}"
        answer = await call(http, name, [self.photo, model, *more], self.session)
        self.load.saw(kind, time.monotonic() - begin)
        if kind in ("compare", "explain"):
            self.load.crossed += self.sha not in json.dumps(answer[0])
        if kind == "compare":
            named = answer[0]["info"]["class"]
            self.load.crossed += named != self.load.classes.setdefault(self.example, named)

    async def run(self, until, model):
        # without certificates, whose reading would keep the other clients waiting: the address is this machine's own
        async with httpx.AsyncClient(base_url=self.load.address, timeout=120, verify=False) as http:
            while not until(self.load):
                try:
                    await self.step(http, model)
                except (RuntimeError, httpx.HTTPError, OSError) as error:
                    self.load.errors.append(repr(error)[:300])


def served(port, cores):
    """Starts the app, on some cores alone where they are named; returns its process once it answers."""
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    pinned = ["taskset", "--cpu-list", cores] if cores else []
    process = subprocess.Popen([*pinned, sys.executable, str(ROOT / "app.py")], env=environment, cwd=ROOT)
    if cores:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - set(map(int, cores.split(","))))
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/config", timeout=5).raise_for_status()
            return process
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit("The app did not start.")


async def main(options):
    for name in EXAMPLES:
        example(name)  # once, before the clock runs
    process = served(options.port, options.server_cores)
    try:
        load, begin = Load(f"http://127.0.0.1:{options.port}", process.pid, options.comparisons), time.monotonic()
        load.memory[0], started = memory(process.pid), processor(process.pid)

        def until(load):
            if options.comparisons:
                return len(load.seconds["compare"]) >= options.comparisons
            return time.monotonic() - begin > options.seconds

        await asyncio.gather(*(Client(n, load).run(until, options.model) for n in range(options.clients)))
        load.processor = processor(process.pid) - started
        report(load, time.monotonic() - begin)
    finally:
        process.terminate()
        process.wait(30)


def report(load, seconds):
    total = sum(map(len, load.seconds.values()))
    print(f"{total} answers and {len(load.errors)} errors in {seconds:.0f} s; {load.crossed} of another visitor")
    for kind, times in sorted(load.seconds.items()):
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{kind:10} n={len(times):5}  p50 {p50:6.2f} s  p95 {p95:6.2f} s")
    print("resident MB by comparisons:", {n: round(mb) for n, mb in load.memory.items()})
    print(f"processor of the server: {load.processor:.1f} s, {1000 * load.processor / max(total, 1):.0f} ms an answer")
    for error in dict.fromkeys(load.errors):
        print("error:", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--comparisons", type=int, help="nothing but so many comparisons instead")
    parser.add_argument("--server-cores", help="0,1: on which the server runs, and no client")
    parser.add_argument("--model", default="imagenet")
    parser.add_argument("--port", type=int, default=7899)
    asyncio.run(main(parser.parse_args()))
