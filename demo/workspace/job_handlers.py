"""Event handlers of a session's job: queued, followed, stopped, discarded."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.utils.language import gettext as _
from bsoftmax.utils.language import ngettext

from ..components.inputs import error_notices, visitor
from ..components.report import ReportData, text
from ..server.ownership import unread
from ..server.sentences import sentence
from .data_handlers import DataHandlers, Update
from .jobs import Job
from .progress import JobProgress
from .workspaces import Workspace

FAIR_SECONDS = 1800.0  # a job's longest while others wait; it then stops and keeps what it has
UNREAD = 60  # messages about a job, of two a second, that its browser may leave unread
NICENESS = 10  # the page must stay quick while a job runs
UNDER_WAY = {
    "training": "One training is under way already.", "evaluation": "One evaluation is under way already.",
}  # fmt: skip
FAILED = {
    "training": "The server stumbled over this training: try again.",
    "evaluation": "The server stumbled over this evaluation: try again.",
}


class JobHandlers(DataHandlers):
    """One job at a time in a session's workspace."""

    @error_notices
    def enqueue(self, request: gr.Request) -> Update:
        """Takes a place in the queue; a timer asks for it until the job begins."""
        workspace = self.workspace(request)
        if workspace.data is None:
            raise ValueError("Bring images first: a zip, pictures class by class, or the sample set.")
        if workspace.busy:
            raise ValueError(UNDER_WAY[self.KIND])
        self.workspaces.enqueue(visitor(request), self.TAB)
        return {
            **self._queue(request), "run": gr.Column(visible=True), "outcome": gr.Column(visible=False),
            "curves": gr.Row(visible=False), "go": gr.Button(interactive=False), "timer": gr.Timer(active=True),
            "stop": gr.Button(visible=False), "discard": gr.Button(visible=True),
        }  # fmt: skip

    @error_notices
    def wait(self, request: gr.Request) -> Update:
        """The place in the queue."""
        queued = self.workspace(request).waits
        return self._queue(request) if queued else {"status": gr.skip()}

    def _queue(self, request: gr.Request) -> Update:
        ahead = self.workspaces.ahead(visitor(request), self.TAB)
        words = _("Starting …")
        if ahead:
            one, many = "Waiting: {n} job ahead of yours.", "Waiting: {n} jobs ahead of yours."
            words = ngettext(one, many, ahead).format(n=ahead)
        return {"status": ReportData(blocks=[text(words, "now")])}

    def guarded(self, request: gr.Request, steps: Callable[[Workspace], Iterator[Update]]) -> Iterator[Update]:
        """The answers of a job's steps; an error is shown in the status, and the job's files are removed."""
        workspace = self.workspace(request)
        try:
            with self.turn(workspace):
                yield from steps(workspace)
        except Exception as error:
            yield {"status": ReportData(blocks=[text(self.failure(error), "error")]), **idle()}
            raise

    def failure(self, error: BaseException) -> str:
        """Why a job failed."""
        known = isinstance(error, (ValueError, OSError))
        return sentence(error) if known else _(FAILED[self.KIND])

    @contextmanager
    def turn(self, workspace: Workspace) -> Iterator[None]:
        """A job's time in the workspace, after which its files are removed, whichever way it ends."""
        try:
            if workspace.ticket is not None and not workspace.waits:
                raise ValueError("This place in the queue was lost, as the page was not heard of: start again.")
            yield
        finally:  # also when the tab is closed, or the job discarded
            workspace.ticket = None
            if workspace.job:
                workspace.job.kill()
                shutil.rmtree(workspace.job.folder, ignore_errors=True)

    @staticmethod
    def run_folder(workspace: Workspace) -> Path:
        """The working folder of a job. Raises ValueError when its images have been removed."""
        if workspace.data is None or workspace.data_folder is None:
            raise ValueError("The images are no longer on the server: bring them again.")
        if not workspace.data_folder.is_dir():  # a cleaner of temporary files has been there
            raise ValueError("The images are no longer on the server: bring them again.")
        run = workspace.data_folder / "run"
        run.mkdir(exist_ok=True)
        return run

    def start(self, workspace: Workspace, words: Sequence[str]) -> None:
        """Starts `bsoftmax` with these words on the workspace's data; the workspace leaves the queue."""
        words = [*words, "--cache", str(workspace.data_folder / "cache"), "--events", "--nice", str(NICENESS)]
        words += [f"--called={workspace.label}"] if workspace.label else []  # one word, as a label may begin with "-"
        job = Job(words, self.run_folder(workspace), workspace.data_folder, self.KIND)
        workspace.job, workspace.ticket = job, None

    def follow(self, job: Job, progress: JobProgress) -> Generator[Update, None, dict[str, Any] | None]:
        """What the page shows while the job runs; returns its event "done", None when it was discarded.

        Raises ValueError with the job's sentence when it fails.
        """
        yield {
            "status": ReportData(blocks=progress.blocks()), "timer": gr.Timer(active=False),
            "stop": gr.Button(visible=True, interactive=True), "discard": gr.Button(visible=True),
        }  # fmt: skip
        for events in job.events():
            if job.killed:
                yield _discarded()
                return None
            if unread() > UNREAD:
                raise ValueError("Nobody has read the progress of this job, so it was ended: start again.")
            if time.monotonic() - job.started > FAIR_SECONDS and self.workspaces.waiting():
                job.stop()
            more, progress.stopping = progress.update(events), job.stopping
            if progress.last and progress.last["event"] == "error":
                raise ValueError(str(progress.last["message"]))
            yield {"status": ReportData(blocks=progress.blocks()), **(self.more(progress) if more else {})}
        return progress.last

    @staticmethod
    def more(progress: JobProgress) -> Update:
        """What changes on the page besides the status."""
        return {}

    @staticmethod
    def shown_command(workspace: Workspace, command: Sequence[str]) -> str:
        """A job's command line, after the one that makes the sample set where that is its data."""
        return "bsoftmax sample sample\n" * (workspace.label == "sample") + shlex.join(command)

    @error_notices
    def stop(self, request: gr.Request) -> Update:
        """Asks the job to end early and to keep what it has."""
        workspace = self.workspace(request)
        if workspace.running:
            workspace.job.stop()
        return {"stop": gr.Button(interactive=False)}

    @error_notices
    def discard(self, request: gr.Request) -> Update:
        """Ends the job and removes its results; the images stay."""
        workspace = self.workspace(request)
        workspace.ticket = None
        if workspace.job:
            workspace.job.kill()
        return _discarded()


def idle() -> Update:
    """The buttons when no job is under way."""
    return {
        "go": gr.Button(interactive=True), "stop": gr.Button(visible=False), "discard": gr.Button(visible=False),
        "timer": gr.Timer(active=False),
    }  # fmt: skip


def _discarded() -> Update:
    status = ReportData(blocks=[text(_("Discarded; your images are still here."), "now")])
    return {"status": status, "curves": gr.Row(visible=False), **idle()}


def file_stem(name: str) -> str:
    """A file's stem in letters every file system takes."""
    name = re.sub(r"[^\w.-]+", "-", Path(name).stem, flags=re.ASCII).strip(".-")
    return name[:60] or "model"
