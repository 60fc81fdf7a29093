"""An evaluation as it goes on: events in, what the page shows out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bsoftmax.evaluation.metrics import METRICS

from ..components.report import Block, bar, table, text
from ..workspace.preview import duration
from .table import named

FIRST = ("average_drop", "adcc", "max_box_acc_v2", "gt_loc", "px_ap", "pointing")  # shown while it runs


class EvalProgress:
    """What has been heard of an evaluation so far."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.began: float | None = None
        self.done = self.total = self.before = 0
        self.notes: list[str] = []
        self.table: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.stopping = False

    def take(self, events: Sequence[dict[str, Any]]) -> bool:
        """Hears some events; all there is to show is in the status."""
        for event in events:
            kind = event["event"]
            if kind == "data":
                self.total, self.notes, self.began = event["n"], list(event["notes"]), time.monotonic()
            elif kind == "progress":
                self.done, self.total = event["done"], event["total"]
            elif kind == "table":
                self.table = event
            elif kind in ("done", "error"):
                self.last = event
        return False

    def blocks(self) -> list[Block]:
        """The bar, the time left, the table so far."""
        if self.last and self.last["event"] == "error":
            return [text(str(self.last["message"]), "error")]
        if self.last:
            stopped = " It was stopped early: what was measured is kept." if self.last.get("stopped") else ""
            return [text(f"Done in {duration(self.last['seconds'])}.{stopped}", "now")]
        title = "Stopping: intervals of what was measured are being computed" if self.stopping else "Measuring"
        if not self.began:
            title = "Starting"
        elif self.total and self.done >= self.total:
            title = "Computing intervals"
        said = [text(f"{title} …", "now"), bar("Evaluation", self.done, self.total, self._time())]
        said += [text(note, "quiet") for note in self.notes]
        return [*said, self._table()] if self.table else said

    def _time(self) -> str:
        passed = f"{duration(time.monotonic() - self.start)} so far."
        if not self.done or not self.total or self.began is None:
            return passed
        left = (time.monotonic() - self.began) * (self.total - self.done) / self.done
        return f"{self.done:,} of {self.total:,} images; about {duration(left)} left. {passed}"

    def _table(self) -> Block:
        rows = self.table["rows"]
        names = [name for name in FIRST if any(name in row["metrics"] for row in rows)]
        lines, seen = [], set()
        for row in rows:
            values = [f"{row['metrics'][name]:.1f}" if name in row["metrics"] else "" for name in names]
            if tuple(values) not in seen:  # those identical by construction say the same
                seen.add(tuple(values))
                lines.append([named(row["column"]), *values])
        head = ["", *(METRICS[name].title for name in names)]
        return table(f"So far, after {self.table['n']:,} images, without intervals", head, lines)
