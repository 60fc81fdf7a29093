"""A long job in a child process: its events read, stopped, killed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bsoftmax.models.backbones import weights_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "bsoftmax")
LOG = logging.getLogger("bsoftmax")
LONGEST = 3 * 3600  # seconds; then a job is asked to stop and keep what it has
ADVICE = {  # kind of job: how to take less memory, and what to do after a failure
    "training": ("choose fewer images, fewer views or a smaller trunk", "train again"),
    "evaluation": ("choose fewer methods or a smaller model", "evaluate again"),
}


class Job:
    """A child process that writes an event as JSON on each line, and ends early once its stop file exists."""

    def __init__(self, arguments: Sequence[str], folder: Path, cwd: Path, kind: str = "training") -> None:
        self.folder, self._stop_file, self._log = folder, folder / "stop", folder / "errors.log"
        self.kind, self._lines = kind, queue.Queue[str | None]()
        self.started, self.killed = time.monotonic(), False
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        # the child works in another folder, where ./checkpoints means nothing
        weights = {"PYTHONPATH": os.pathsep.join(paths), "BSOFTMAX_WEIGHTS": str(weights_folder().resolve())}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, *arguments, "--stop-file", str(self._stop_file)], cwd=cwd, env={**os.environ, **weights},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                errors="replace", start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def events(self, pause: float = 0.5) -> Iterator[list[dict[str, Any]]]:
        """The child's events, in batches at least `pause` seconds apart; a batch may be empty.

        The last batch ends with an event "done" or "error", made from the exit code where the child sent none; with
        neither when it was killed from here.
        """
        ended = False
        while True:
            batch, over = self._read_until(time.monotonic() + pause)
            ended = ended or any(event["event"] in ("done", "error") for event in batch)
            if over and not ended and not self.killed:
                batch.append({"event": "error", "message": self._failure(self._process.wait())})
            if time.monotonic() - self.started > LONGEST:
                self.stop()
            yield batch
            if over:
                return

    def _read_until(self, until: float) -> tuple[list[dict[str, Any]], bool]:
        batch: list[dict[str, Any]] = []
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                return batch, True
            if (event := _parsed(line)) is not None:
                batch.append(event)
        return batch, False

    def _failure(self, code: int) -> str:
        with open(self._log, "rb") as log:
            last = log.read()[-2000:].decode("utf-8", "replace").strip().splitlines()[-1:]
        LOG.warning("%s ended with code %s: %s", self.kind, code, " ".join(last))
        less, again = ADVICE[self.kind]
        if code == -9:
            return f"The {self.kind} was killed, most likely for want of memory: {less}, and {again}."
        how = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"The {self.kind} broke off without a word ({how}): {again}, and look into the server's log if it does."

    def stop(self) -> None:
        """Asks the child to end early and to keep what it has."""
        with contextlib.suppress(OSError):  # its folder has been removed
            self._stop_file.touch()

    @property
    def stopping(self) -> bool:
        """Whether it has been asked to."""
        return self._stop_file.exists()

    def kill(self) -> None:
        """Ends the child and whatever it started, at once."""
        self.killed = True
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)  # it leads its own group
                else:
                    self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the child is still there."""
        return self._process.poll() is None


def _parsed(line: str) -> dict[str, Any] | None:
    """An event, or None for a line that is none (a library's chatter)."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
