"""A training as it goes on: events in, what the page shows out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bsoftmax.limits import bytes_in_words

from .preview import duration
from .sheet import Block, bar, text

HEADS = {"softmax": "softmax", "branch": "sigmoid"}  # stages that have epochs -> what is trained in them
WORST = 3  # classes drawn beside the mean
LETTERS = 16  # of their names in the legend


class Progress:
    """What has been heard of a training so far."""

    def __init__(self) -> None:
        self.start = self.began = time.monotonic()
        self.title, self.size = "Starting", ""
        self.done = self.total = 0
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
            elif kind == "progress":
                self.done, self.total = event["done"], event["total"]
            elif kind == "epoch":
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
        rows = [(e["epoch"], e["loss"], HEADS[e["stage"]]) for e in self._heads()]
        return pd.DataFrame(rows, columns=["epoch", "loss", "head"])

    def accuracies(self) -> pd.DataFrame:
        """Validation accuracy in percent against epoch, a line for each head."""
        rows = [(e["epoch"], e["val_accuracy"], HEADS[e["stage"]]) for e in self._heads()]
        return pd.DataFrame(rows, columns=["epoch", "percent", "head"]).dropna()

    def recalled(self) -> pd.DataFrame:
        """Percent of a class's validation images the branch finds, against epoch: the mean and the worst classes."""
        epochs = [e for e in self.epochs if e["stage"] == "branch" and e.get("recalled")]
        classes = self.data.get("classes", [])
        worst = sorted(range(len(classes)), key=lambda k: epochs[-1]["recalled"][k])[:WORST] if epochs else []
        rows = []
        for e in epochs:
            found = e["recalled"]
            rows.append((e["epoch"], sum(found) / len(found), "mean"))
            rows += [(e["epoch"], found[k], classes[k][:LETTERS]) for k in worst]
        return pd.DataFrame(rows, columns=["epoch", "percent", "class"])

    def _heads(self) -> list[dict[str, Any]]:
        return [e for e in self.epochs if e["stage"] in HEADS]
