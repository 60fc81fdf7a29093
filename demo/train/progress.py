"""The progress of a training: a bar, and curves over epochs."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from bsoftmax.data.limits import bytes_in_words
from bsoftmax.utils.language import gettext as _

from ..language.visitor import translated
from ..workspace.progress import JobProgress

HEADS = {"softmax": "softmax", "branch": "sigmoid"}  # stages that have epochs -> the head trained in them


class Progress(JobProgress):
    """Adds stages and epochs to a job's progress."""

    LABEL, LEFT = "Training", "{done:,} of {total:,}; about {time} left in this stage."
    STOPPING = "Stopping: what has been learnt so far is being measured and kept"
    KEPT = "It was stopped early and kept."

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0  # of the features
        self.notes: list[str] = []
        self.counted = False  # whether the stage reports progress besides its epochs
        self.epochs: list[dict[str, Any]] = []

    def receive(self, kind: str, event: dict[str, Any]) -> bool:
        """Every epoch makes the curves longer."""
        if kind == "stage":
            self.title, self.done, self.total, self.began = event["title"], 0, 0, time.monotonic()
            self.counted = False
        elif kind == "progress":
            self.counted = True
        elif kind == "epoch":
            if not self.counted:
                self.done, self.total = event["epoch"], event["epochs"]
            self.epochs.append(event)
        elif kind == "note":
            self.notes.append(str(event["message"]))
        elif kind == "size":
            self.bytes = event["bytes"]
        return super().receive(kind, event) or kind == "epoch"

    def timing(self) -> str:
        """The time, the space on the disk, and what else is to be known."""
        size = _("The features take {size} on the server.").format(size=bytes_in_words(self.bytes))
        return " ".join([super().timing(), *([size] if self.bytes else []), *map(translated, self.notes)])

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
                mean = sum(known) / len(known)
                rows += [(e["epoch"], mean, _("mean")), (e["epoch"], min(known), _("worst class"))]
        return pd.DataFrame(rows, columns=["epoch", "percent", "class"])

    def _lines(self, value: str, name: str) -> pd.DataFrame:
        # a head without epochs yet gets a row without a number: a plot keeps the names of lines it began with
        rows = [(e["epoch"], e[value], _(HEADS[e["stage"]])) for e in self._heads()]
        missing = [head for head in map(_, HEADS.values()) if head not in {row[2] for row in rows}] if rows else []
        rows += [(1, None, head) for head in missing]
        return pd.DataFrame(rows, columns=["epoch", name, "head"]).astype({name: float})

    def _heads(self) -> list[dict[str, Any]]:
        return [e for e in self.epochs if e["stage"] in HEADS]
