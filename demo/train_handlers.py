"""What the Train tab's events call once there are images: a training and what it leaves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from .comparison import shown
from .data_handlers import Update
from .desks import Desk
from .doors import sentences
from .job_handlers import NICE, JobHandlers, idle, stem
from .jobs import Job
from .own_handlers import gallery, kept
from .progress import Progress
from .results import Results
from .settings import Settings
from .sheet import SheetData


class TrainHandlers(JobHandlers):
    """A training and its end, for the browser that asks."""

    @sentences
    def train(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float,
    ) -> Iterator[Update]:  # fmt: skip
        """Trains on the images brought before, and tells how it goes; the last answer names the model."""
        yield from self.working(
            request, lambda desk: self._trained(desk, request.session_hash, Settings.read(
                trunk, views, epochs, lr, weight_decay, init, stage1, share, seed))
        )  # fmt: skip

    def _trained(self, desk: Desk, owner: str, settings: Settings) -> Iterator[Update]:
        out = self._start(desk, settings)
        done = yield from self.followed(desk.job, Progress())
        if done:  # else it was discarded
            yield self._finished(desk, owner, done, out.stem, (settings.share, settings.seed))

    def _start(self, desk: Desk, settings: Settings) -> Path:
        run = self.run_folder(desk)
        out = run / f"{stem(desk.called or desk.source)}.safetensors"
        words = ["train", desk.source, "--classes", "own", "--out", str(out), "--cache", str(desk.spot / "cache")]
        words += ["--events", "--nice", str(NICE), *settings.options()]
        words += [f"--called={desk.called}"] if desk.called else []  # whatever it begins with
        desk.job, desk.ticket = Job(words, run, desk.spot), None
        return out

    @staticmethod
    def grown(progress: Progress) -> Update:
        """The curves."""
        recalled = progress.recalled()
        return {
            "curves": gr.Row(visible=True), "loss": progress.losses(), "accuracy": progress.accuracies(),
            "recalled": gr.LinePlot(recalled, visible=len(recalled) > 0),
        }  # fmt: skip

    def _finished(self, desk: Desk, owner: str, done: dict[str, Any], name: str, held: tuple[float, int]) -> Update:
        results = Results.read(desk.spot / done["report"])
        examples = [(kept(desk.spot / i["path"]), shown(results.classes[i["label"]])) for i in results.examples()]
        differing = [(kept(desk.spot / i["path"]), results.said(i)) for i in results.disagreements()]
        owned = self.add(owner, name, desk.spot / done["checkpoint"], examples, differing)
        desk.outcome, desk.held = owned.token, held
        blocks = results.blocks(done["metrics"]["val"])
        command = shlex.join(owned.model.spec.training.get("command", ()))
        command = f"bsoftmax sample sample\n{command}" if desk.called == "sample" else command
        differing = gallery(owned.differing)
        return {
            **idle(), "outcome": gr.Column(visible=True), "result": SheetData(blocks=blocks, model=owned.token),
            "differing": gr.Gallery(differing, visible=bool(differing)), "command": command,
            "checkpoint": gr.DownloadButton(value=kept(desk.spot / done["checkpoint"])),
            "card": gr.DownloadButton(value=kept(desk.spot / done["card"])), "model": self.menu(owner),
            "own_examples": gr.Gallery(gallery(owned.examples), visible=True),
        }  # fmt: skip
