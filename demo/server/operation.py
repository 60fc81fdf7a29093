"""What an operator may ask of a running server: health, counts, times. Nothing of what visitors sent."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute

LOG = logging.getLogger("bsoftmax.calls")
KEPT = 1000  # durations of a handler, for its percentiles


class Calls:
    """Counts and durations of the handlers' calls."""

    def __init__(self) -> None:
        self._lock, self.started = threading.Lock(), time.monotonic()
        self.requests: dict[str, int] = defaultdict(int)
        self.errors: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))

    @contextmanager
    def counted(self, handler: str) -> Iterator[None]:
        """Counts a call, its time, and whether it ended in an error."""
        begin, failed = time.monotonic(), True
        try:
            yield
            failed = False
        finally:
            seconds = time.monotonic() - begin
            with self._lock:
                self.requests[handler] += 1
                self.errors[handler] += failed
                self._seconds[handler].append(seconds)
            line = {"handler": handler, "seconds": round(seconds, 4), "error": failed}
            LOG.info(json.dumps(line))

    def lines(self) -> Iterator[str]:
        """The counts in Prometheus' text format."""
        with self._lock:
            seconds = {handler: list(values) for handler, values in self._seconds.items()}
            counts = {"requests": dict(self.requests), "errors": dict(self.errors)}
        for name, values in counts.items():
            yield f"# TYPE bsoftmax_{name}_total counter"
            yield from (f'bsoftmax_{name}_total{{handler="{handler}"}} {n}' for handler, n in sorted(values.items()))
        yield "# TYPE bsoftmax_seconds summary"
        for handler, values in sorted(seconds.items()):
            for q in (0.5, 0.95):
                yield f'bsoftmax_seconds{{handler="{handler}",quantile="{q}"}} {np.quantile(values, q):.4f}'


CALLS = Calls()


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def watch(app: FastAPI, page: gr.Blocks) -> None:
    """Answers /health and /metrics, and logs every call as a line of JSON."""
    if not LOG.handlers:
        LOG.addHandler(logging.StreamHandler())
    LOG.setLevel(logging.INFO)

    def health() -> dict[str, Any]:
        return {"status": "ok", "seconds": round(time.monotonic() - CALLS.started, 1)}

    def metrics() -> str:
        queued = sum(len(events.queue) for events in page._queue.event_queue_per_concurrency_id.values())
        more = [
            "# TYPE bsoftmax_queue gauge", f"bsoftmax_queue {queued}",
            "# TYPE bsoftmax_resident_bytes gauge", f"bsoftmax_resident_bytes {resident_bytes()}",
        ]  # fmt: skip
        return "\n".join([*CALLS.lines(), *more]) + "\n"

    # before gradio's own routes, one of which takes any path
    app.router.routes[:0] = [
        APIRoute("/health", health, response_class=JSONResponse),
        APIRoute("/metrics", metrics, response_class=PlainTextResponse),
    ]
