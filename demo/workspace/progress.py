"""The progress of a job: its events in, report blocks out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bsoftmax.utils.language import gettext as _

from ..components.report import Block, bar, text
from ..language.visitor import translated
from .preview import duration


class JobProgress:
    """The state of a job after its events so far; trainings and evaluations extend it."""

    LABEL, LEFT = "", "{done:,} of {total:,}; about {time} left."  # the bar's label; how much is done, and time left
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
            return [text(translated(str(self.last["message"])), "error")]
        if self.last:
            done = _("Done in {time}.").format(time=duration(self.last["seconds"]))
            return [text(f"{done} {_(self.KEPT)}" if self.last.get("stopped") else done, "now")]
        stage = translated(self.stage())
        return [text(f"{stage} …", "now"), bar(_(self.LABEL), self.done, self.total, self.timing())]

    def stage(self) -> str:
        """What is being done."""
        return self.STOPPING if self.stopping else self.title

    def timing(self) -> str:
        """The time passed, and the time left once it can be estimated."""
        passed = _("{time} so far.").format(time=duration(time.monotonic() - self.start))
        if not self.done or not self.total:
            return passed
        left = (time.monotonic() - self.began) * (self.total - self.done) / self.done
        words = _(self.LEFT).format(done=self.done, total=self.total, time=duration(left))
        return f"{words} {passed}"
