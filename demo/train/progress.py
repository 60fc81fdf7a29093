"""A training as it goes on: events in, what the page shows out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bsoftmax.data.limits import bytes_in_words

from ..components.report import Block, bar, text
from ..workspace.preview import duration

HEADS = {"softmax": "softmax", "branch": "sigmoid"}  # stages that have epochs -> what is trained in them


class Progress:
    """What has been heard of a training so far."""

    def __init__(self) -> None:
        self.start = self.began = time.monotonic()
        self.title, self.size = "Starting", ""
        self.done = self.total = 0
        self.counted = False  # whether the stage tells of more than its epochs
        self.data: dict[str, Any] = {}
        self.epochs: list[dict[str, Any]] = []
        self.last: dict[str, Any] | None = None  # the event "done" or "error"
        self.stopping = False

    def take(self, events: Sequence[dict[str, Any]]) -> bool:
        """Hears some events; whether the curves have grown."""
        before = len(self.epochs)
        for event in events:
            kind = event["event"]
            if kind == "stage":
                self.title, self.done, self.total, self.began = event["title"], 0, 0, time.monotonic()
                self.counted = False
            elif kind == "progress":
                self.done, self.total, self.counted = event["done"], event["total"], True
            elif kind == "epoch":
                if not self.counted:
                    self.done, self.total = event["epoch"], event["epochs"]
                self.epochs.append(event)
            elif kind == "data":
                self.data = event
            elif kind == "size":
                self.size = f" The features take {bytes_in_words(event['bytes'])} on the server."
            elif kind in ("done", "error"):
                self.last = event
        return len(self.epochs) > before

    def blocks(self) -> list[Block]:
        """The stage, the bar, the time left."""
        if self.last and self.last["event"] == "error":
            return [text(str(self.last["message"]), "error")]
        if self.last:
            stopped = " It was stopped early and kept." if self.last.get("stopped") else ""
            return [text(f"Done in {duration(self.last['seconds'])}.{stopped}", "now")]
        title = "Stopping: what has been learnt so far is being measured and kept" if self.stopping else self.title
        return [text(f"{title} …", "now"), bar("Training", self.done, self.total, self._time() + self.size)]

    def _time(self) -> str:
        passed = f"{duration(time.monotonic() - self.start)} so far."
        if not self.done or not self.total:
            return passed
        left = (time.monotonic() - self.began) * (self.total - self.done) / self.done
        return f"{self.done:,} of {self.total:,}; about {duration(left)} left in this stage. {passed}"

    def losses(self) -> pd.DataFrame:
        """Loss against epoch, a line for each head."""
        return self._lines("loss", "loss")

    def accuracies(self) -> pd.DataFrame:
        """Validation accuracy in percent against epoch, a line for each head."""
        return self._lines("val_accuracy", "percent")

    def recalled(self) -> pd.DataFrame:
        """Percent of a class's validation images the branch finds, against epoch: the mean and the worst class."""
        rows = []
        for e in self.epochs:
            # a class without validation images has no share
            known = [share for share in e.get("recalled", ()) if share is not None] if e["stage"] == "branch" else []
            if known:
                rows += [(e["epoch"], sum(known) / len(known), "mean"), (e["epoch"], min(known), "worst class")]
        return pd.DataFrame(rows, columns=["epoch", "percent", "class"])

    def _lines(self, value: str, name: str) -> pd.DataFrame:
        # a head without epochs yet gets a row without a number: a plot keeps the names of lines it began with
        rows = [(e["epoch"], e[value], HEADS[e["stage"]]) for e in self._heads()]
        missing = [head for head in HEADS.values() if head not in {row[2] for row in rows}] if rows else []
        rows += [(1, None, head) for head in missing]
        return pd.DataFrame(rows, columns=["epoch", name, "head"]).astype({name: float})

    def _heads(self) -> list[dict[str, Any]]:
        return [e for e in self.epochs if e["stage"] in HEADS]
