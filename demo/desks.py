"""A desk for every browser that trains: its folder, its data, its training. No widgets here."""

from __future__ import annotations

import atexit
import itertools
import math
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bsoftmax.layouts import DataSet

from .jobs import Job

MOST = 8  # folders kept, of all browsers together
HOURS = 2.0  # and for how long after their last use


@dataclass
class Desk:
    """What one browser has put on the server.

    `spot` holds the data and the features made of it; `source` is what a training started there reads, `called` its
    name where that is another; `classes` counts the pictures of each class that is being collected; `ticket` is the
    place in the queue.
    """

    folder: Path
    spot: Path | None = None
    source: str = ""
    called: str = ""
    data: DataSet | None = None
    classes: dict[str, int] = field(default_factory=dict)
    job: Job | None = None
    ticket: int | None = None
    used: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether a training runs."""
        return self.job is not None and self.job.running

    @property
    def busy(self) -> bool:
        """Whether a training runs or waits for its turn."""
        return self.ticket is not None or self.running

    def new_spot(self) -> Path:
        """An empty folder for another data set."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def lay(self, spot: Path, source: str, data: DataSet, called: str = "") -> None:
        """Lays a data set on the desk in place of the last."""
        old, self.spot, self.source, self.data, self.called = self.spot, spot, source, data, called
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Ends the training and removes the folder."""
        self.ticket = self.data = self.spot = None
        if self.job:
            self.job.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Desks:
    """All desks, by the browser's session; nobody's folder outlives the server or a few hours."""

    def __init__(self) -> None:
        self.root, self._lock = Path(tempfile.mkdtemp(prefix="bsoftmax-")), threading.Lock()
        self._desks: dict[str, Desk] = {}
        self._tickets = itertools.count()
        atexit.register(self.close)

    def of(self, owner: str) -> Desk:
        """The desk of a browser, made at its first use. Raises ValueError when every desk is in use."""
        with self._lock:
            gone = self._outdated()
            if owner not in self._desks:
                gone += self._room()
                folder = Path(tempfile.mkdtemp(dir=self.root))
                self._desks[owner] = Desk(folder)
            desk = self._desks[owner]
            desk.used = time.monotonic()
        for old in gone:
            old.clear()
        return desk

    def _outdated(self) -> list[Desk]:
        late = time.monotonic() - HOURS * 3600
        owners = [owner for owner, desk in self._desks.items() if desk.used < late and not desk.running]
        return [self._desks.pop(owner) for owner in owners]

    def _room(self) -> list[Desk]:
        if len(self._desks) < MOST:
            return []
        idle = [owner for owner, desk in self._desks.items() if not desk.busy]
        if not idle:
            raise ValueError("Every place for training is taken: try again in a few minutes.")
        return [self._desks.pop(min(idle, key=lambda owner: self._desks[owner].used))]

    def leave(self, owner: str) -> None:
        """Clears the desk of a browser that has gone."""
        with self._lock:
            desk = self._desks.pop(owner, None)
        if desk:
            desk.clear()

    def enlist(self, owner: str) -> None:
        """Gives a browser its place in the queue for training."""
        self.of(owner).ticket = next(self._tickets)

    def ahead(self, owner: str) -> int:
        """How many trainings of others run, or wait in front of this one."""
        with self._lock:
            mine = self._desks[owner].ticket if owner in self._desks else None
            others = [desk for other, desk in self._desks.items() if other != owner]
        mine = math.inf if mine is None else mine
        return sum(desk.running or (desk.ticket is not None and desk.ticket < mine) for desk in others)

    def close(self) -> None:
        """Ends every training and removes every folder."""
        with self._lock:
            desks, self._desks = list(self._desks.values()), {}
        for desk in desks:
            desk.clear()
        shutil.rmtree(self.root, ignore_errors=True)
