"""What the Train tab's events call once there are images: a training and what it leaves."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..compare.present import readable
from ..compare.user_models import gallery, kept
from ..components.inputs import sentences
from ..components.report import ReportData
from ..workspace.data_handlers import Update
from ..workspace.job_handlers import NICE, JobHandlers, idle, stem
from ..workspace.jobs import Job
from ..workspace.workspaces import Workspace
from .plan import Plan, estimate
from .progress import Progress
from .results import Results
from .settings import Settings


class TrainHandlers(JobHandlers):
    """A training and its end, for the browser that asks."""

    @sentences
    def plan(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float,
    ) -> Update:  # fmt: skip
        """What a training with these settings would learn from, and how long it would take."""
        settings = Settings.read(trunk, views, epochs, lr, weight_decay, init, stage1, share, seed)
        workspace = self.workspace(request)
        if workspace.data is None:
            return {"preview": gr.skip()}
        plan = Plan.of(workspace.data, settings)
        first = [(plan.train.paths[n], plan.train.classes[plan.train.labels[n]]) for n in plan.samples()]
        pictures = gallery(first)
        blocks = plan.blocks(estimate(plan, settings))
        return {
            "preview": ReportData(blocks=blocks),
            "samples": gr.Gallery(pictures, visible=bool(pictures)),
            "go": gr.Button(interactive=not workspace.busy),
        }

    @sentences
    def train(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float,
    ) -> Iterator[Update]:  # fmt: skip
        """Trains on the images brought before, and tells how it goes; the last answer names the model."""
        yield from self.working(
            request, lambda workspace: self._trained(workspace, request.session_hash, Settings.read(
                trunk, views, epochs, lr, weight_decay, init, stage1, share, seed))
        )  # fmt: skip

    def _trained(self, workspace: Workspace, owner: str, settings: Settings) -> Iterator[Update]:
        out = self._start(workspace, settings)
        done = yield from self.followed(workspace.job, Progress())
        if done:  # else it was discarded
            yield self._finished(workspace, owner, done, out.stem, (settings.share, settings.seed))

    def _start(self, workspace: Workspace, settings: Settings) -> Path:
        run = self.run_folder(workspace)
        out = run / f"{stem(workspace.called or workspace.source)}.safetensors"
        words = ["train", workspace.source, "--classes", "own", "--out", str(out)]
        words += ["--cache", str(workspace.spot / "cache")]
        words += ["--events", "--nice", str(NICE), *settings.options()]
        words += [f"--called={workspace.called}"] if workspace.called else []  # whatever it begins with
        workspace.job, workspace.ticket = Job(words, run, workspace.spot), None
        return out

    @staticmethod
    def grown(progress: Progress) -> Update:
        """The curves."""
        recalled = progress.recalled()
        return {
            "curves": gr.Row(visible=True), "loss": progress.losses(), "accuracy": progress.accuracies(),
            "recalled": gr.LinePlot(recalled, visible=len(recalled) > 0),
        }  # fmt: skip

    def _finished(
        self, workspace: Workspace, owner: str, done: dict[str, Any], name: str, held: tuple[float, int]
    ) -> Update:
        results = Results.read(workspace.spot / done["report"])
        examples = [
            (kept(workspace.spot / i["path"]), readable(results.classes[i["label"]])) for i in results.examples()
        ]
        differing = [(kept(workspace.spot / i["path"]), results.said(i)) for i in results.disagreements()]
        owned = self.add(owner, name, workspace.spot / done["checkpoint"], examples, differing)
        workspace.outcome, workspace.held = owned.token, held
        blocks = results.blocks(done["metrics"]["val"])
        command = shlex.join(owned.model.spec.training.get("command", ()))
        command = f"bsoftmax sample sample\n{command}" if workspace.called == "sample" else command
        differing = gallery(owned.differing)
        return {
            **idle(), "outcome": gr.Column(visible=True), "result": ReportData(blocks=blocks, model=owned.token),
            "differing": gr.Gallery(differing, visible=bool(differing)), "command": command,
            "checkpoint": gr.DownloadButton(value=kept(workspace.spot / done["checkpoint"])),
            "card": gr.DownloadButton(value=kept(workspace.spot / done["card"])), "model": self.menu(owner),
            "own_examples": gr.Gallery(gallery(owned.examples), visible=True),
        }  # fmt: skip
