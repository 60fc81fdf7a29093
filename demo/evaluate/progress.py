"""The progress of an evaluation: a bar, and the table so far."""

from __future__ import annotations

import time
from typing import Any

from bsoftmax.evaluation.metrics import METRICS
from bsoftmax.utils.language import gettext as _

from ..components.report import Block, table, text
from ..language.visitor import translated
from ..workspace.progress import JobProgress
from .table import column_title

SHOWN = ("average_drop", "adcc", "max_box_acc_v2", "gt_loc", "px_ap", "pointing")  # while it runs


class EvalProgress(JobProgress):
    """Adds notes and the table so far to a job's progress."""

    LABEL, LEFT = "Evaluation", "{done:,} of {total:,} images; about {time} left."
    STOPPING = "Stopping: intervals of what was measured are being computed"
    KEPT = "It was stopped early: what was measured is kept."

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.table: dict[str, Any] | None = None

    def receive(self, kind: str, event: dict[str, Any]) -> bool:
        """Everything there is to show is in the status."""
        if kind == "data":
            self.total, self.notes, self.began = event["n"], list(event["notes"]), time.monotonic()
            self.title = "Measuring"
        elif kind == "table":
            self.table = event
        return super().receive(kind, event)

    def blocks(self) -> list[Block]:
        """Notes and table follow the bar."""
        status = super().blocks()
        if self.last:
            return status
        notes = [text(translated(note), "quiet") for note in self.notes]
        return [*status, *notes, *([self._table()] if self.table else [])]

    def stage(self) -> str:
        """What is being done."""
        if self.title == "Measuring" and self.total and self.done >= self.total:
            return "Computing intervals"
        return super().stage() if self.title == "Measuring" else self.title

    def _table(self) -> Block:
        rows = self.table["rows"]
        names = [name for name in SHOWN if any(name in row["metrics"] for row in rows)]
        lines, seen = [], set()
        for row in rows:
            values = [f"{row['metrics'][name]:.1f}" if name in row["metrics"] else "" for name in names]
            if tuple(values) not in seen:  # maps identical by construction have equal rows
                seen.add(tuple(values))
                lines.append([column_title(row["column"]), *values])
        head = ["", *(_(METRICS[name].title) for name in names)]
        caption = _("So far, after {n:,} images, without intervals").format(n=self.table["n"])
        return table(caption, head, lines)
