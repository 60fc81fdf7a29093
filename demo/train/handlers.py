"""Event handlers of the Train tab: the plan of a training, the training, its results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax import DualBranch
from bsoftmax.data.limits import bytes_in_words
from bsoftmax.utils.language import gettext as _

from ..compare.classes import readable
from ..components.files import copy_to_cache, gallery_items
from ..components.inputs import error_notices, visitor
from ..components.report import ReportData
from ..workspace.data_handlers import Update
from ..workspace.job_handlers import JobHandlers, file_stem, idle
from ..workspace.workspaces import Workspace
from .plan import Plan, estimate
from .progress import Progress
from .results import Results
from .settings import Settings


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
        out = self.run_folder(workspace) / f"{file_stem(workspace.label or workspace.source)}.safetensors"
        self.start(workspace, ["train", workspace.source, "--classes", "own", "--out", str(out), *settings.options()])
        done = yield from self.follow(workspace.job, Progress())
        if done:  # else it was discarded
            yield self._finished(workspace, owner, done, out.stem, (settings.share, settings.seed))

    @staticmethod
    def more(progress: Progress) -> Update:
        """The curves."""
        recalled = progress.recalled()
        return {
            "curves": gr.Row(visible=True), "loss": progress.losses(), "accuracy": progress.accuracies(),
            "recalled": gr.LinePlot(recalled, visible=len(recalled) > 0),
        }  # fmt: skip

    def _finished(
        self, workspace: Workspace, owner: str, done: dict[str, Any], name: str, holdout: tuple[float, int]
    ) -> Update:
        def copy(path: str) -> str:
            return copy_to_cache(workspace.data_folder / path)

        results = Results.read(workspace.data_folder / done["report"])
        examples = [(copy(i["path"]), readable(results.classes[i["label"]])) for i in results.examples()]
        differing = [(copy(i["path"]), results.caption(i)) for i in results.disagreements()]
        user_model = self.add(owner, name, workspace.data_folder / done["checkpoint"], examples, differing)
        workspace.outcome, workspace.holdout = user_model.token, holdout
        blocks = results.blocks(done["metrics"]["val"])
        pictures = gallery_items(user_model.differing)
        return {
            **idle(), "outcome": gr.Column(visible=True), "result": ReportData(blocks=blocks, model=user_model.token),
            "differing": gr.Gallery(pictures, visible=bool(pictures)),
            "command": self.shown_command(workspace, user_model.model.spec.training.get("command", ())),
            "checkpoint": gr.DownloadButton(value=copy(done["checkpoint"])),
            "heads": self._heads(user_model.model, workspace.data_folder / done["checkpoint"]),
            "card": gr.DownloadButton(value=copy(done["card"])), "model": self.menu(owner),
            "user_examples": gr.Gallery(gallery_items(user_model.examples), visible=True),
        }  # fmt: skip

    @staticmethod
    def _heads(model: DualBranch, checkpoint: Path) -> gr.DownloadButton:
        """The download of the heads without their trunk, where everybody can have the trunk."""
        if not model.has_public_trunk:
            return gr.DownloadButton(visible=False)
        path = model.save(checkpoint.with_name(f"{checkpoint.stem}-heads.safetensors"), heads=True)
        label = _("Its heads alone ({size})").format(size=bytes_in_words(path.stat().st_size))
        return gr.DownloadButton(label, value=copy_to_cache(path), visible=True)
