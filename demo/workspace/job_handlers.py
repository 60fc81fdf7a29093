"""What the page's events call for a job of a browser's own: waited for, followed, stopped, discarded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from ..components.inputs import sentences
from ..components.report import Block, ReportData, text
from .data_handlers import DataHandlers, Update
from .jobs import Job
from .workspaces import Workspace

NICE = 10  # the page must stay quick while a job runs


class Told(Protocol):
    """What has been heard of a job so far."""

    last: dict[str, Any] | None  # the event "done" or "error"
    stopping: bool

    def take(self, events: list[dict[str, Any]]) -> bool:
        """Hears some events; whether there is more to show than the bar."""

    def blocks(self) -> list[Block]:
        """What the status says."""


class JobHandlers(DataHandlers):
    """One job at a time on a browser's desk in this tab."""

    @sentences
    def enlist(self, request: gr.Request) -> Update:
        """Takes a place in the queue; the page asks after it until the job begins."""
        workspace = self.workspace(request)
        if workspace.data is None:
            raise ValueError("Bring images first: a zip, pictures class by class, or the sample set.")
        if workspace.busy:
            raise ValueError(f"One {self.KIND} is under way already.")
        self.workspaces.enlist(request.session_hash, self.ROOM)
        return {
            **self._queue(request), "run": gr.Column(visible=True), "outcome": gr.Column(visible=False),
            "curves": gr.Row(visible=False), "go": gr.Button(interactive=False), "timer": gr.Timer(active=True),
            "stop": gr.Button(visible=False), "discard": gr.Button(visible=True),
        }  # fmt: skip

    def wait(self, request: gr.Request) -> Update:
        """The place in the queue."""
        workspace = self.workspace(request)
        return {"status": gr.skip()} if workspace.ticket is None else self._queue(request)

    def _queue(self, request: gr.Request) -> Update:
        ahead = self.workspaces.ahead(request.session_hash, self.ROOM)
        words = "Starting …" if not ahead else f"Waiting: {ahead} {JOBS[ahead > 1]} ahead of yours."
        return {"status": ReportData(blocks=[text(words, "now")])}

    def working(self, request: gr.Request, steps: Callable[[Workspace], Iterator[Update]]) -> Iterator[Update]:
        """The answers of a job's steps; whatever goes wrong is said on the page, and nothing is left behind."""
        workspace = self.workspace(request)
        try:
            yield from steps(workspace)
        except Exception as error:
            known = isinstance(error, (ValueError, OSError))
            words = str(error) if known else f"The server stumbled over this {self.KIND}: try again."
            yield {"status": ReportData(blocks=[text(words, "error")]), **idle()}
            raise
        finally:  # also when the tab is closed, or the job discarded
            workspace.ticket = None
            if workspace.job:
                workspace.job.kill()
                shutil.rmtree(workspace.job.folder, ignore_errors=True)

    @staticmethod
    def run_folder(workspace: Workspace) -> Path:
        """Where a job works. Raises ValueError when its images have gone."""
        if workspace.data is None or workspace.spot is None:
            raise ValueError("The images are no longer on the server: bring them again.")
        run = workspace.spot / "run"
        run.mkdir(exist_ok=True)
        return run

    def followed(self, job: Job, progress: Told) -> Generator[Update, None, dict[str, Any] | None]:
        """What the page shows while the child works; returns its last word, None when it was discarded.

        Raises ValueError with the child's sentence when it fails.
        """
        yield {
            "status": ReportData(blocks=progress.blocks()), "timer": gr.Timer(active=False),
            "stop": gr.Button(visible=True, interactive=True), "discard": gr.Button(visible=True),
        }  # fmt: skip
        for events in job.events():
            if job.killed:  # what is shown last must not be that it goes on
                yield _discarded()
                return None
            grown, progress.stopping = progress.take(events), job.stopping
            if progress.last and progress.last["event"] == "error":
                raise ValueError(str(progress.last["message"]))
            yield {"status": ReportData(blocks=progress.blocks()), **(self.grown(progress) if grown else {})}
        return progress.last

    @staticmethod
    def grown(progress: Told) -> Update:
        """What else the page shows when there is more than the bar."""
        return {}

    def stop(self, request: gr.Request) -> Update:
        """Asks the job to end early and to keep what it has."""
        workspace = self.workspace(request)
        if workspace.running:
            workspace.job.stop()
        return {"stop": gr.Button(interactive=False)}

    def discard(self, request: gr.Request) -> Update:
        """Ends the job and throws away what it has; the images stay."""
        workspace = self.workspace(request)
        workspace.ticket = None
        if workspace.job:
            workspace.job.kill()
        return _discarded()


JOBS = ("job", "jobs")


def idle() -> Update:
    """The buttons when no job is under way."""
    return {
        "go": gr.Button(interactive=True), "stop": gr.Button(visible=False), "discard": gr.Button(visible=False),
        "timer": gr.Timer(active=False),
    }  # fmt: skip


def _discarded() -> Update:
    said = text("Discarded; your images are still here.", "now")
    return {"status": ReportData(blocks=[said]), "curves": gr.Row(visible=False), **idle()}


def stem(name: str) -> str:
    """A file's stem after what people call a thing, in letters every disk takes."""
    name = re.sub(r"[^\w.-]+", "-", Path(name).stem, flags=re.ASCII).strip(".-")
    return name[:60] or "model"
