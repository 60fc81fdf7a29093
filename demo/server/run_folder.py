"""The folder of all that a running server writes, removed at its end; what killed servers left goes at a start."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX, LOCK = "bsoftmax-server-", "lock"


class RunFolder:
    """A folder whose lock is held for as long as this process lives, whichever way it ends."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = Path(parent or tempfile.gettempdir())
        remove_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = open(self.path / LOCK, "w")  # noqa: SIM115 (open until the end)
        _locked(self._lock)

    def close(self) -> None:
        """Removes it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Removes the folders of servers that are no more."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            with open(folder / LOCK, "r+") as lock:  # never makes one
                abandoned = _locked(lock)
        except OSError:  # another user's, or one that is just being made
            continue
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(file: IO[str]) -> bool:
    """Takes the lock of a file; False where another process holds it, or where there are no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_into_one_folder() -> RunFolder:
    """Makes this process write its temporary files and Gradio's cache into one folder, removed on every signal."""
    folder = RunFolder()
    tempfile.tempdir = str(folder.path)
    os.environ["GRADIO_TEMP_DIR"] = str(folder.path / "cache")
    atexit.register(folder.close)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    return folder
