"""What the Train tab's events call once there are images: a training waited for, followed, stopped, and its end."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from .comparison import shown
from .data_handlers import DataHandlers, Update
from .desks import Desk
from .doors import sentences
from .jobs import Job
from .own_handlers import gallery, kept
from .progress import Progress
from .results import Results
from .settings import Settings
from .sheet import SheetData, text

NICE = 10  # the page must stay quick while a training runs


class TrainHandlers(DataHandlers):
    """A training and its end, for the browser that asks."""

    @sentences
    def enlist(self, request: gr.Request) -> Update:
        """Takes a place in the queue; the page asks after it until the training begins."""
        desk = self.desks.of(request.session_hash)
        if desk.data is None:
            raise ValueError("Bring images first: a zip, pictures class by class, or the sample set.")
        if desk.busy:
            raise ValueError("A training is under way already.")
        self.desks.enlist(request.session_hash)
        return {
            **self._queue(request), "run": gr.Column(visible=True), "outcome": gr.Column(visible=False),
            "curves": gr.Row(visible=False), "go": gr.Button(interactive=False), "timer": gr.Timer(active=True),
            "stop": gr.Button(visible=False), "discard": gr.Button(visible=True),
        }  # fmt: skip

    def wait(self, request: gr.Request) -> Update:
        """The place in the queue."""
        desk = self.desks.of(request.session_hash)
        return {"status": gr.skip()} if desk.ticket is None else self._queue(request)

    def _queue(self, request: gr.Request) -> Update:
        ahead = self.desks.ahead(request.session_hash)
        words = "Starting …" if not ahead else f"Waiting: {ahead} training{'s' * (ahead > 1)} ahead of yours."
        return {"status": SheetData(blocks=[text(words, "now")])}

    @sentences
    def train(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float,
    ) -> Iterator[Update]:  # fmt: skip
        """Trains on the images brought before, and tells how it goes; the last answer names the model."""
        desk, run = self.desks.of(request.session_hash), None
        try:
            settings = Settings.read(trunk, views, epochs, lr, weight_decay, init, stage1, share, seed)
            run, out = self._start(desk, settings)
            done = yield from self._followed(desk.job)
            if done:  # else it was discarded
                yield self._finished(desk, request.session_hash, done, out.stem)
        except Exception as error:
            known = isinstance(error, (ValueError, OSError))
            words = str(error) if known else "The server stumbled over this training: train again."
            yield {"status": SheetData(blocks=[text(words, "error")]), **_idle()}
            raise
        finally:  # also when the tab is closed, or the training discarded
            self._end(desk, run)

    def _start(self, desk: Desk, settings: Settings) -> tuple[Path, Path]:
        if desk.data is None or desk.spot is None:
            raise ValueError("The images are no longer on the server: bring them again.")
        run = desk.spot / "run"
        run.mkdir(exist_ok=True)
        out = run / f"{_stem(desk)}.safetensors"
        words = ["train", desk.source, "--classes", "own", "--out", str(out), "--cache", str(desk.spot / "cache")]
        words += ["--events", "--nice", str(NICE), *settings.options()]
        words += ["--called", desk.called] if desk.called else []
        desk.job, desk.ticket = Job(words, run, desk.spot), None
        return run, out

    def _followed(self, job: Job) -> Generator[Update, None, dict[str, Any] | None]:
        """What the page shows while the child works; returns its last word, None when it was discarded.

        Raises ValueError with the child's sentence when it fails.
        """
        progress = Progress()
        yield {
            "status": SheetData(blocks=progress.blocks()), "timer": gr.Timer(active=False),
            "stop": gr.Button(visible=True, interactive=True), "discard": gr.Button(visible=True),
        }  # fmt: skip
        for events in job.events():
            if job.killed:  # what is shown last must not be that it goes on
                yield _discarded()
                return None
            grown, progress.stopping = progress.take(events), job.stopping
            if progress.last and progress.last["event"] == "error":
                raise ValueError(str(progress.last["message"]))
            yield {"status": SheetData(blocks=progress.blocks()), **(_curves(progress) if grown else {})}
        return progress.last

    def _finished(self, desk: Desk, owner: str, done: dict[str, Any], name: str) -> Update:
        results = Results.read(desk.spot / done["report"])
        examples = [(kept(desk.spot / i["path"]), shown(results.classes[i["label"]])) for i in results.examples()]
        differing = [(kept(desk.spot / i["path"]), results.said(i)) for i in results.disagreements()]
        owned = self.add(owner, name, desk.spot / done["checkpoint"], examples, differing)
        blocks = results.blocks(done["metrics"]["val"])
        command = shlex.join(owned.model.spec.training.get("command", ()))
        command = f"bsoftmax sample sample\n{command}" if desk.called == "sample" else command
        differing = gallery(owned.differing)
        return {
            **_idle(), "outcome": gr.Column(visible=True), "result": SheetData(blocks=blocks, model=owned.token),
            "differing": gr.Gallery(differing, visible=bool(differing)), "command": command,
            "checkpoint": gr.DownloadButton(value=kept(desk.spot / done["checkpoint"])),
            "card": gr.DownloadButton(value=kept(desk.spot / done["card"])), "model": self.menu(owner),
            "own_examples": gr.Gallery(gallery(owned.examples), visible=True),
        }  # fmt: skip

    @staticmethod
    def _end(desk: Desk, run: Path | None) -> None:
        if run is None:
            desk.ticket = None
            return
        if desk.job:
            desk.job.kill()
        shutil.rmtree(run, ignore_errors=True)

    def stop(self, request: gr.Request) -> Update:
        """Asks the training to end early and to keep what it has learnt."""
        desk = self.desks.of(request.session_hash)
        if desk.running:
            desk.job.stop()
        return {"stop": gr.Button(interactive=False)}

    def discard(self, request: gr.Request) -> Update:
        """Ends the training and throws away what it has learnt; the images stay."""
        desk = self.desks.of(request.session_hash)
        desk.ticket = None
        if desk.job:
            desk.job.kill()
        return _discarded()


def _idle() -> Update:
    """The buttons when no training is under way."""
    return {
        "go": gr.Button(interactive=True), "stop": gr.Button(visible=False), "discard": gr.Button(visible=False),
        "timer": gr.Timer(active=False),
    }  # fmt: skip


def _discarded() -> Update:
    said = text("Discarded; your images are still here.", "now")
    return {"status": SheetData(blocks=[said]), "curves": gr.Row(visible=False), **_idle()}


def _curves(progress: Progress) -> Update:
    recalled = progress.recalled()
    return {
        "curves": gr.Row(visible=True), "loss": progress.losses(), "accuracy": progress.accuracies(),
        "recalled": gr.LinePlot(recalled, visible=len(recalled) > 0),
    }  # fmt: skip


def _stem(desk: Desk) -> str:
    """What the model's files are called: as the data set, in letters every disk takes."""
    name = re.sub(r"[^\w.-]+", "-", Path(desk.called or desk.source).stem, flags=re.ASCII).strip(".-")
    return name[:60] or "model"
