"""The workspaces of visitors who train or evaluate: a folder, data, a job."""

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

MAX_WORKSPACES = 12  # of all sessions together
MAX_IDLE_HOURS = 2.0  # kept after their last use


@dataclass
class Workspace:
    """One session's files in one tab.

    `data_folder` holds the data and the features computed from it; `source` is the path a job there reads, `label` its
    name where that differs; `classes` counts the pictures of each class being collected; `ticket` is the place in the
    queue; `outcome` is the last job's result; `holdout` is the share and the seed by which a training drew its
    validation images, where the data has none.
    """

    folder: Path
    data_folder: Path | None = None
    source: str = ""
    label: str = ""
    data: DataSet | None = None
    classes: dict[str, int] = field(default_factory=dict)
    job: Job | None = None
    ticket: int | None = None
    outcome: Any = None
    holdout: tuple[float, int] | None = None
    used: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.running

    @property
    def busy(self) -> bool:
        """Whether a job runs or is queued."""
        return self.ticket is not None or self.running

    def new_data_folder(self) -> Path:
        """An empty folder for another data set."""
        return _new_folder(self.folder)

    def set_data(self, data_folder: Path, source: str, data: DataSet, label: str = "") -> None:
        """Replaces the data set and removes the files of the last."""
        old, self.data_folder, self.source, self.data, self.label = self.data_folder, data_folder, source, data, label
        self.outcome = self.holdout = None
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Ends the job and removes the folder."""
        self.ticket = self.data = self.data_folder = self.outcome = None
        if self.job:
            self.job.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _new_folder(parent: Path) -> Path:
    """A new folder in one that a cleaner of temporary files may have removed."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


class Workspaces:
    """All workspaces, by session and tab; they are removed when idle for hours, and at the server's end."""

    def __init__(self) -> None:
        self.root, self._lock = Path(tempfile.mkdtemp(prefix="bsoftmax-")), threading.Lock()
        self._workspaces: dict[tuple[str, str], Workspace] = {}
        self._tickets = itertools.count()
        atexit.register(self.close)

    def of(self, owner: str, tab: str = "train") -> Workspace:
        """A session's workspace in a tab, made at its first use. Raises ValueError when all are busy."""
        with self._lock:
            gone = self._evict(new=(owner, tab) not in self._workspaces)
            if (owner, tab) not in self._workspaces:
                self._workspaces[owner, tab] = Workspace(_new_folder(self.root))
            workspace = self._workspaces[owner, tab]
            workspace.used = time.monotonic()
        for old in gone:
            old.clear()
        return workspace

    def _evict(self, new: bool) -> list[Workspace]:
        """Takes out the workspaces idle for too long, and the longest idle one where a new one needs its place."""
        oldest = time.monotonic() - MAX_IDLE_HOURS * 3600
        keys = [key for key, workspace in self._workspaces.items() if workspace.used < oldest and not workspace.running]
        if new and len(self._workspaces) - len(keys) >= MAX_WORKSPACES:
            idle = [key for key, w in self._workspaces.items() if not w.busy and key not in keys]
            if not idle:
                raise ValueError("Every place for training is taken: try again in a few minutes.")
            keys.append(min(idle, key=lambda key: self._workspaces[key].used))
        return [self._workspaces.pop(key) for key in keys]

    def remove(self, owner: str) -> None:
        """Clears the workspaces of a session that has ended."""
        with self._lock:
            gone = [self._workspaces.pop(key) for key in list(self._workspaces) if key[0] == owner]
        for workspace in gone:
            workspace.clear()

    def enqueue(self, owner: str, tab: str = "train") -> None:
        """Gives a session its place in the queue."""
        self.of(owner, tab).ticket = next(self._tickets)

    def ahead(self, owner: str, tab: str = "train") -> int:
        """How many jobs run, or wait in front of this one."""
        with self._lock:
            own = self._workspaces.get((owner, tab))
            others = [workspace for workspace in self._workspaces.values() if workspace is not own]
        turn = math.inf if own is None or own.ticket is None else own.ticket
        return sum(other.running or (other.ticket is not None and other.ticket < turn) for other in others)

    def close(self) -> None:
        """Ends every job and removes every folder."""
        with self._lock:
            workspaces, self._workspaces = list(self._workspaces.values()), {}
        for workspace in workspaces:
            workspace.clear()
        shutil.rmtree(self.root, ignore_errors=True)
