"""Desks for every browser that trains or measures: a folder, data, a job. No widgets here."""

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
from typing import Any

from bsoftmax.data.sets import DataSet

from .jobs import Job

MOST = 12  # folders kept, of all browsers together
HOURS = 2.0  # and for how long after their last use


@dataclass
class Workspace:
    """What one browser has put on the server.

    `spot` holds the data and the features made of it; `source` is what a job started there reads, `called` its
    name where that is another; `classes` counts the pictures of each class that is being collected; `ticket` is the
    place in the queue; `outcome` is what the last job has left to look at; `held` is the share and the seed by which
    the validation images of a training were drawn, where the data names none.
    """

    folder: Path
    spot: Path | None = None
    source: str = ""
    called: str = ""
    data: DataSet | None = None
    classes: dict[str, int] = field(default_factory=dict)
    job: Job | None = None
    ticket: int | None = None
    outcome: Any = None
    held: tuple[float, int] | None = None
    used: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.running

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits for its turn."""
        return self.ticket is not None or self.running

    def new_spot(self) -> Path:
        """An empty folder for another data set."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def lay(self, spot: Path, source: str, data: DataSet, called: str = "") -> None:
        """Lays a data set on the desk in place of the last."""
        old, self.spot, self.source, self.data, self.called = self.spot, spot, source, data, called
        self.outcome = self.held = None
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Ends the job and removes the folder."""
        self.ticket = self.data = self.spot = self.outcome = None
        if self.job:
            self.job.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Workspaces:
    """All desks, by the browser's session and the tab; nobody's folder outlives the server or a few hours."""

    def __init__(self) -> None:
        self.root, self._lock = Path(tempfile.mkdtemp(prefix="bsoftmax-")), threading.Lock()
        self._desks: dict[tuple[str, str], Workspace] = {}
        self._tickets = itertools.count()
        atexit.register(self.close)

    def of(self, owner: str, room: str = "train") -> Workspace:
        """A browser's desk in a tab, made at its first use. Raises ValueError when every desk is in use."""
        with self._lock:
            gone = self._outdated()
            if (owner, room) not in self._desks:
                gone += self._room()
                folder = Path(tempfile.mkdtemp(dir=self.root))
                self._desks[owner, room] = Workspace(folder)
            workspace = self._desks[owner, room]
            workspace.used = time.monotonic()
        for old in gone:
            old.clear()
        return workspace

    def _outdated(self) -> list[Workspace]:
        late = time.monotonic() - HOURS * 3600
        keys = [key for key, workspace in self._desks.items() if workspace.used < late and not workspace.running]
        return [self._desks.pop(key) for key in keys]

    def _room(self) -> list[Workspace]:
        if len(self._desks) < MOST:
            return []
        idle = [key for key, workspace in self._desks.items() if not workspace.busy]
        if not idle:
            raise ValueError("Every place for training is taken: try again in a few minutes.")
        return [self._desks.pop(min(idle, key=lambda key: self._desks[key].used))]

    def leave(self, owner: str) -> None:
        """Clears the desks of a browser that has gone."""
        with self._lock:
            gone = [self._desks.pop(key) for key in [key for key in self._desks if key[0] == owner]]
        for workspace in gone:
            workspace.clear()

    def enlist(self, owner: str, room: str = "train") -> None:
        """Gives a browser its place in the queue."""
        self.of(owner, room).ticket = next(self._tickets)

    def ahead(self, owner: str, room: str = "train") -> int:
        """How many jobs run, or wait in front of this one."""
        with self._lock:
            mine = self._desks.get((owner, room))
            others = [workspace for workspace in self._desks.values() if workspace is not mine]
        turn = math.inf if mine is None or mine.ticket is None else mine.ticket
        return sum(
            workspace.running or (workspace.ticket is not None and workspace.ticket < turn) for workspace in others
        )

    def close(self) -> None:
        """Ends every job and removes every folder."""
        with self._lock:
            workspaces, self._desks = list(self._desks.values()), {}
        for workspace in workspaces:
            workspace.clear()
        shutil.rmtree(self.root, ignore_errors=True)
