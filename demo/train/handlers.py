"""Event handlers of the Train tab: the plan of a training, the training, its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.data.limits import bytes_in_words
from bsoftmax.utils.language import gettext as _

from ..compare.classes import readable
from ..components.files import copy_to_cache, gallery_items
from ..components.inputs import error_notices, visitor
from ..components.report import ReportData
from ..server.user_models import UserModel
from ..workspace.data_handlers import Update
from ..workspace.job_handlers import JobHandlers, file_stem, idle
from ..workspace.workspaces import Workspace
from .plan import Plan, estimate
from .progress import Progress
from .results import Results
from .settings import Settings


@dataclass(frozen=True)
class Trained:
    """A finished training: its model, report and the paths of its files; no heads where the trunk is its own."""

    user_model: UserModel
    results: Results
    validation: dict[str, Any]
    checkpoint: str
    heads: str | None
    card: str
    command: str


class TrainHandlers(JobHandlers):
    """Handlers answer {name of a widget: value}; every session has its own workspace."""

    @error_notices
    def plan(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float, solver: str = Settings.solver,
    ) -> Update:  # fmt: skip
        """What a training with these settings would learn from, and how long it would take."""
        settings = Settings.read(trunk, views, epochs, lr, weight_decay, init, stage1, share, seed, solver)
        workspace = self.workspace(request)
        if workspace.data is None:
            return {"preview": gr.skip()}
        plan = Plan.of(workspace.data, settings)
        return {
            "preview": ReportData(blocks=plan.blocks(estimate(plan, settings))),
            "samples": self.sample_gallery(plan.train),
            "go": gr.Button(interactive=not workspace.busy),
        }

    @error_notices
    def train(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float, solver: str = Settings.solver,
    ) -> Iterator[Update]:  # fmt: skip
        """Trains on the images brought before and reports its progress; the last answer names the model."""
        yield from self.guarded(
            request, lambda workspace: self._train(workspace, visitor(request), Settings.read(
                trunk, views, epochs, lr, weight_decay, init, stage1, share, seed, solver))
        )  # fmt: skip

    def _train(self, workspace: Workspace, owner: str, settings: Settings) -> Iterator[Update]:
        self.begin(workspace, settings)
        done = yield from self.follow(workspace.job, Progress())
        if done:  # else it was discarded
            yield self._finished(workspace, self.keep(workspace, owner, done, settings), owner)

    def begin(self, workspace: Workspace, settings: Settings) -> None:
        """Starts a training on the workspace's data."""
        out = self.run_folder(workspace) / f"{file_stem(workspace.label or workspace.source)}.safetensors"
        self.start(workspace, ["train", workspace.source, "--classes", "own", "--out", str(out), *settings.options()])

    def keep(self, workspace: Workspace, owner: str, done: dict[str, Any], settings: Settings) -> Trained:
        """Opens the model of a finished training for its owner, and moves its files to where they can be fetched."""

        def copy(path: str | Path) -> str:
            return copy_to_cache(workspace.data_folder / path)

        results = Results.read(workspace.data_folder / done["report"])
        checkpoint = workspace.data_folder / done["checkpoint"]
        examples = [(copy(i["path"]), readable(results.classes[i["label"]])) for i in results.examples()]
        differing = [(copy(i["path"]), results.caption(i)) for i in results.disagreements()]
        user_model = self.add(owner, checkpoint.stem, checkpoint, examples, differing)
        workspace.outcome, workspace.holdout = user_model.token, (settings.share, settings.seed)
        heads, model = None, user_model.model
        if model.has_public_trunk:  # which everybody can have
            heads = copy(model.save(checkpoint.with_name(f"{checkpoint.stem}-heads.safetensors"), heads=True))
        files = (copy(checkpoint), heads, copy(done["card"]))
        command = self.shown_command(workspace, model.spec.training.get("command", ()))
        return Trained(user_model, results, done["metrics"]["val"], *files, command)

    @staticmethod
    def more(progress: Progress) -> Update:
        """The curves."""
        recalled = progress.recalled()
        return {
            "curves": gr.Row(visible=True), "loss": progress.losses(), "accuracy": progress.accuracies(),
            "recalled": gr.LinePlot(recalled, visible=len(recalled) > 0),
        }  # fmt: skip

    def _finished(self, workspace: Workspace, trained: Trained, owner: str) -> Update:
        user_model = trained.user_model
        blocks = trained.results.blocks(trained.validation)
        pictures = gallery_items(user_model.differing)
        return {
            **idle(), "outcome": gr.Column(visible=True), "result": ReportData(blocks=blocks, model=user_model.token),
            "differing": gr.Gallery(pictures, visible=bool(pictures)),
            "command": trained.command,
            "checkpoint": gr.DownloadButton(value=trained.checkpoint), "heads": self._heads(trained.heads),
            "card": gr.DownloadButton(value=trained.card), "model": self.menu(owner),
            "user_examples": gr.Gallery(gallery_items(user_model.examples), visible=True),
        }  # fmt: skip

    @staticmethod
    def _heads(path: str | None) -> gr.DownloadButton:
        """The download of the heads without their trunk."""
        if path is None:
            return gr.DownloadButton(visible=False)
        label = _("Its heads alone ({size})").format(size=bytes_in_words(Path(path).stat().st_size))
        return gr.DownloadButton(label, value=path, visible=True)
