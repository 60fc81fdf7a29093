"""The progress of a job: its events in, report blocks out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..components.report import Block, bar, text
from .preview import duration


class JobProgress:
    """The state of a job after its events so far; trainings and evaluations extend it."""

    LABEL, UNIT, SCOPE = "", "", ""  # the bar's label; what is counted; what the time left refers to
    STOPPING, KEPT = "", ""  # shown while it is being stopped, and after it was

    def __init__(self) -> None:
        self.start = self.began = time.monotonic()
        self.title = "Starting"
        self.done = self.total = 0
        self.last: dict[str, Any] | None = None  # the event "done" or "error"
        self.stopping = False

    def update(self, events: Sequence[dict[str, Any]]) -> bool:
        """Takes new events; whether there is more to show than the status."""
        shown = [self.receive(event["event"], event) for event in events]
        return any(shown)

    def receive(self, kind: str, event: dict[str, Any]) -> bool:
        """Takes one event; whether there is more to show than the status."""
        if kind == "progress":
            self.done, self.total = event["done"], event["total"]
        elif kind in ("done", "error"):
            self.last = event
        return False

    def blocks(self) -> list[Block]:
        """The status: stage, bar and time left, or how the job ended."""
        if self.last and self.last["event"] == "error":
            return [text(str(self.last["message"]), "error")]
        if self.last:
            stopped = f" {self.KEPT}" if self.last.get("stopped") else ""
            return [text(f"Done in {duration(self.last['seconds'])}.{stopped}", "now")]
        return [text(f"{self.stage()} …", "now"), bar(self.LABEL, self.done, self.total, self.timing())]

    def stage(self) -> str:
        """What is being done."""
        return self.STOPPING if self.stopping else self.title

    def timing(self) -> str:
        """The time passed, and the time left once it can be estimated."""
        passed = f"{duration(time.monotonic() - self.start)} so far."
        if not self.done or not self.total:
            return passed
        left = (time.monotonic() - self.began) * (self.total - self.done) / self.done
        return f"{self.done:,} of {self.total:,}{self.UNIT}; about {duration(left)} left{self.SCOPE}. {passed}"
