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
from functools import cached_property
from pathlib import Path
from typing import Any

from bsoftmax.data.sets import DataSet

from .jobs import Job

MOST_BYTES = 8e9  # of the data sets of all sessions together
MOST_WAITING = 12  # jobs
MOST_EMPTY = 2000  # workspaces without data, which are a few hundred bytes each
SILENT_SECONDS = 30.0  # without a question for its place, after which a session loses it
MAX_IDLE_HOURS = 2.0  # kept after their last use


@dataclass
class Workspace:
    """One session's files in one tab.

    `data_folder` holds the data and the features computed from it; `source` is the path a job there reads, `label` its
    name where that differs; `classes` counts the pictures of each class being collected; `ticket` is the place in the
    queue; `outcome` is the last job's result; `holdout` is the share and the seed by which a training drew its
    validation images, where the data has none.
    """

    parent: Path
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
    seen: float = 0.0  # when its place in the queue was last asked for
    bytes: int = 0  # of its data set
    told: dict[str, Any] | None = None  # what a program was told last of its job

    @cached_property
    def folder(self) -> Path:
        """Its folder, made at the first use."""
        return _new_folder(self.parent)

    @property
    def empty(self) -> bool:
        """Whether nothing was brought or begun."""
        return "folder" not in self.__dict__ and not self.busy

    @property
    def waits(self) -> bool:
        """Whether it has a place in the queue, which silence loses."""
        return self.ticket is not None and time.monotonic() - self.seen < SILENT_SECONDS

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self.job is not None and self.job.running

    @property
    def busy(self) -> bool:
        """Whether a job runs or is queued."""
        return self.waits or self.running

    def new_data_folder(self) -> Path:
        """An empty folder for another data set."""
        return _new_folder(self.folder)

    def set_data(self, data_folder: Path, source: str, data: DataSet, label: str = "") -> None:
        """Replaces the data set and removes the files of the last."""
        old, self.data_folder, self.source, self.data, self.label = self.data_folder, data_folder, source, data, label
        self.outcome = self.holdout = None
        self.bytes = sum(path.stat().st_size for path in data_folder.rglob("*") if path.is_file())
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Ends the job and removes the folder."""
        self.ticket = self.data = self.data_folder = self.outcome = None
        if self.job:
            self.job.kill()
        if "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)


def _new_folder(parent: Path) -> Path:
    """A new folder in one that a cleaner of temporary files may have removed."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=parent))


class Workspaces:
    """All workspaces, by session and tab.

    Each goes with its session, at its age, or at the server's end, never for another's sake: what is bounded is the
    queue of jobs, which silent sessions leave, and the bytes of all data sets together.
    """

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self.root, self._lock = Path(tempfile.mkdtemp(prefix="bsoftmax-")), threading.Lock()
        self._workspaces: dict[tuple[str, str], Workspace] = {}
        self._tickets, self._most_bytes = itertools.count(), most_bytes
        atexit.register(self.close)

    def of(self, owner: str, tab: str = "train") -> Workspace:
        """A session's workspace in a tab; it takes no place on the disk until images are brought."""
        with self._lock:
            gone = self._aged()
            workspace = self._workspaces.setdefault((owner, tab), Workspace(self.root))
            workspace.used = time.monotonic()
        for old in gone:
            old.clear()
        return workspace

    def _aged(self) -> list[Workspace]:
        """Takes out the workspaces idle for too long, and the longest idle empty ones where there are very many."""
        now = time.monotonic()
        keys = [key for key, w in self._workspaces.items() if w.used < now - MAX_IDLE_HOURS * 3600 and not w.running]
        if len(self._workspaces) - len(keys) > MOST_EMPTY:
            empty = [key for key, w in self._workspaces.items() if w.empty and key not in keys]
            keys += sorted(empty, key=lambda key: self._workspaces[key].used)[: len(empty) // 2]
        return [self._workspaces.pop(key) for key in keys]

    def check_space(self) -> None:
        """Raises ValueError when the data sets of all sessions fill what this server gives them."""
        with self._lock:
            taken = sum(workspace.bytes for workspace in self._workspaces.values())
        if taken >= self._most_bytes:
            raise ValueError("The server is full of images of other visitors: try again in a few minutes.")

    def remove(self, owner: str) -> None:
        """Clears the workspaces of a session that has ended."""
        with self._lock:
            gone = [self._workspaces.pop(key) for key in list(self._workspaces) if key[0] == owner]
        for workspace in gone:
            workspace.clear()

    def enqueue(self, owner: str, tab: str = "train") -> None:
        """Gives a session its place in the queue. Raises ValueError when too many wait."""
        if len(self.waiting()) >= MOST_WAITING:
            raise ValueError(f"{MOST_WAITING} jobs wait already: try again in a few minutes.")
        workspace = self.of(owner, tab)
        workspace.ticket, workspace.seen = next(self._tickets), time.monotonic()

    def waiting(self) -> list[Workspace]:
        """The workspaces in the queue whose browsers still ask for their place."""
        with self._lock:
            return [workspace for workspace in self._workspaces.values() if workspace.waits]

    def ahead(self, owner: str, tab: str = "train") -> int:
        """How many jobs run, or wait in front of this one; asking keeps the place."""
        with self._lock:
            own = self._workspaces.get((owner, tab))
            others = [workspace for workspace in self._workspaces.values() if workspace is not own]
        if own is not None and own.waits:
            own.seen = time.monotonic()
        turn = math.inf if own is None or own.ticket is None else own.ticket
        return sum(other.running or (other.waits and (other.ticket or 0) < turn) for other in others)

    def close(self) -> None:
        """Ends every job and removes every folder."""
        with self._lock:
            workspaces, self._workspaces = list(self._workspaces.values()), {}
        for workspace in workspaces:
            workspace.clear()
        shutil.rmtree(self.root, ignore_errors=True)
