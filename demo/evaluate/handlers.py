"""Event handlers of the Evaluate tab: the plan of an evaluation, the evaluation, views of its results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax import DualBranch
from bsoftmax.cams import methods as cam_methods
from bsoftmax.evaluation.metrics import find
from bsoftmax.models import zoo
from bsoftmax.utils.language import gettext as _

from ..compare.present import method_choices
from ..components.files import copy_to_cache, gallery_items, zip_to_cache
from ..components.inputs import error_notices, visitor
from ..components.report import ReportData, text
from ..server.schemas import index_of
from ..server.user_models import is_user_model
from ..workspace import datasets
from ..workspace.data_handlers import Update
from ..workspace.job_handlers import JobHandlers, file_stem, idle
from ..workspace.workspaces import Workspace
from . import gauge
from .plan import EvalPlan, EvalSettings, default_split, with_holdout
from .progress import EvalProgress
from .results import ALL_FILES, CURVES, FILES, FOREST, Evaluation


@dataclass
class Outcome:
    """The result of an evaluation: its numbers, the model, the paths of its images, those shown."""

    evaluation: Evaluation
    model: str
    images: dict[str, Path]
    method: str = ""
    shown: dict[str, list[Path]] = field(default_factory=dict)


class EvaluateHandlers(JobHandlers):
    """Handlers answer {name of a widget: value}; every session has its own workspace."""

    TAB, KIND = "evaluate", "evaluation"

    @error_notices
    def bring_trained(self, photo: str | None, method: str | None, request: gr.Request) -> Update:
        """Loads the images and the model of the last training."""
        training = self.workspaces.of(visitor(request), "train")
        if training.outcome is None:
            raise ValueError("Nothing has been trained here yet: train first, or bring images.")
        user_model, holdout = self.session.user_models.get(training.outcome), training.holdout
        datasets.copy_data(training, self.workspace(request), self.limits)
        self.workspace(request).holdout = holdout
        return {**self.loading(), **self.choose(user_model.token, visitor(request), photo, method)}

    @error_notices
    def plan(
        self, request: gr.Request, model: str, measures: list[str], limit: float, methods: list[str], split: str | None,
        explain: str, rules: str, seed: float, question: str = "evaluate",
    ) -> Update:  # fmt: skip
        """What an evaluation with these settings would measure, and how long it would take."""
        values = (measures, limit, methods, split, explain, rules, seed)
        EvalSettings.read(*values)
        workspace, opened = self.workspace(request), self.session.model(model)
        menu = gr.Dropdown(choices=method_choices(opened))
        if workspace.data is None:
            words = _("Model: {name}. Bring images to measure it on.").format(name=self._model_label(model))
            return {"preview": ReportData(blocks=[text(words, "quiet")]), "methods": menu}
        plan, split = self._plan(workspace, model, opened, values)
        splits = gr.Dropdown(choices=list(plan.data.splits), value=split)
        return {
            "preview": ReportData(blocks=plan.blocks(question == "gauge")), "split": splits, "methods": menu,
            "samples": self.sample_gallery(plan.images),
            "go": gr.Button(interactive=not workspace.busy and bool(plan.measured()[0])),
        }  # fmt: skip

    def _plan(
        self, workspace: Workspace, model: str, opened: DualBranch, values: tuple[Any, ...]
    ) -> tuple[EvalPlan, str]:
        settings, data = EvalSettings.read(*values), with_holdout(workspace.data, workspace.holdout)
        if settings.split not in data.splits:  # the choice belongs to other images
            settings = EvalSettings.read(*values[:3], default_split(data), *values[4:])
        return EvalPlan.of(data, self._model_label(model), opened, settings), settings.split

    def _model_label(self, model: str) -> str:
        return self.session.user_models.get(model).label if is_user_model(model) else model

    @error_notices
    def evaluate(
        self, request: gr.Request, model: str, measures: list[str], limit: float, methods: list[str], split: str | None,
        explain: str, rules: str, seed: float, question: str = "evaluate",
    ) -> Iterator[Update]:  # fmt: skip
        """Measures the model on the images brought before and reports its progress; the last answer is the table.

        `question`: "evaluate", or "gauge" for how far off centre its softmax head may be.
        """
        values = (measures, limit, methods, split, explain, rules, seed)
        asked = self._sweep if question == "gauge" else self._evaluate
        yield from self.guarded(request, lambda workspace: asked(workspace, model, values))

    def _sweep(self, workspace: Workspace, model: str, values: tuple[Any, ...]) -> Iterator[Update]:
        yield {"gauge_outcome": gr.Column(visible=False)}
        self.begin_sweep(workspace, model, values)
        done = yield from self.follow(workspace.job, gauge.GaugeProgress())
        if done:
            yield {**idle(), **gauge.shown(done)}

    def begin_sweep(self, workspace: Workspace, model: str, values: tuple[Any, ...]) -> None:
        """Starts a sweep of `bsoftmax gauge` on the workspace's data; `values`: those of `EvalSettings`."""
        run = self.run_folder(workspace)
        plan = self._plan(workspace, model, self.session.model(model), values)[0]
        words = gauge.words(workspace.source, self._model_words(workspace, model), plan.settings)
        self.start(workspace, [*words, *_holdout_words(workspace), "--out", str(run / "gauge")])

    def _evaluate(self, workspace: Workspace, model: str, values: tuple[Any, ...]) -> Iterator[Update]:
        plan = self.begin(workspace, model, values)
        done = yield from self.follow(workspace.job, EvalProgress())
        if done:  # else it was discarded
            evaluation = Evaluation.read(done["results"])
            images = {plan.images.name(n): path for n, path in enumerate(plan.images.paths)}
            workspace.outcome = Outcome(evaluation, model, images)
            yield self._finished(workspace, done, cam_methods.default(plan.model))

    def begin(self, workspace: Workspace, model: str, values: tuple[Any, ...]) -> EvalPlan:
        """Starts an evaluation on the workspace's data; `values`: those of `EvalSettings`."""
        run = self.run_folder(workspace)
        plan = self._plan(workspace, model, self.session.model(model), values)[0]
        words = ["evaluate", workspace.source, *self._model_words(workspace, model), *plan.settings.options()]
        workspace.outcome = None
        self.start(workspace, [*words, *_holdout_words(workspace), "--out", str(run / "evaluation")])
        return plan

    def _model_words(self, workspace: Workspace, model: str) -> list[str]:
        """The model's option on the command line; a user model is saved beside the data, under its label."""
        if not is_user_model(model):
            return [] if model == zoo.DEFAULT else ["--model", model]
        user_model, data_folder = self.session.user_models.get(model), workspace.data_folder
        for old in data_folder.glob("*.safetensors"):
            old.unlink()
        return ["--model", user_model.model.save(data_folder / f"{file_stem(user_model.label)}.safetensors").name]

    def _finished(self, workspace: Workspace, done: dict[str, Any], method: str) -> Update:
        outcome: Outcome = workspace.outcome
        evaluation = outcome.evaluation
        shown = [path for path in done["files"] if Path(path).name in (FOREST, *FILES)]
        files = {Path(path).name: copy_to_cache(path) for path in shown}
        files[ALL_FILES] = zip_to_cache(ALL_FILES, done["files"])
        group, methods = evaluation.groups()[0], evaluation.methods()
        method = method if method in dict(map(reversed, methods)) else methods[0][1]
        return {
            **idle(), "outcome": gr.Column(visible=True), "gauge_outcome": gr.Column(visible=False),
            **self._view(outcome, group, "", method, ""),
            "summary": ReportData(blocks=evaluation.summary()),
            "forest": gr.Image(value=files.get(FOREST), visible=FOREST in files),
            "group": gr.Radio(choices=[(_(name), name) for name in evaluation.groups()], value=group),
            "by_method": gr.Dropdown(choices=methods, value=method),
            **{name: gr.DownloadButton(value=files.get(name), visible=name in files) for name in FILES},
            "protocol": ReportData(blocks=evaluation.protocol()),
            "command": self.shown_command(workspace, evaluation.found["command"]),
        }  # fmt: skip

    @error_notices
    def show_metric(
        self, group: str | None, metric: str | None, method: str | None, whose: str | None, request: gr.Request
    ) -> Update:
        """One metric of the last evaluation: table and verdict, curves, best and worst images."""
        return self._view(self._outcome(request), group, metric, method, whose)

    def _outcome(self, request: gr.Request) -> Outcome:
        outcome = self.workspace(request).outcome
        if outcome is None:
            raise ValueError("These results are no longer on the server: evaluate again.")
        return outcome

    def _view(self, outcome: Outcome, group: str, metric: str, method: str, whose: str) -> Update:
        evaluation = outcome.evaluation
        group = group if group in evaluation.groups() else evaluation.groups()[0]
        metrics, kinds = evaluation.metrics(group), evaluation.kinds(method)
        metric = metric if metric in dict(map(reversed, metrics)) else metrics[0][1]
        keys = [key for shown, key in kinds]
        same = f"{method}/{(whose or '').partition('/')[2]}"  # the same source and clamp, perhaps of another method
        whose = same if same in keys else keys[0] if keys else ""
        outcome.method = method
        return {
            "measured": ReportData(blocks=evaluation.blocks(metric)),
            "metric": gr.Dropdown(choices=metrics, value=metric),
            "whose": gr.Dropdown(choices=kinds, value=whose or None, visible=bool(kinds)),
            **_curves(evaluation, group, method, whose.endswith("/on")),
            **self._pictures(outcome, group, metric, whose),
        }  # fmt: skip

    @staticmethod
    def _pictures(outcome: Outcome, group: str, metric: str, whose: str) -> Update:
        by = outcome.evaluation.gallery_metric(group, metric)
        found = outcome.evaluation.pictures(by, whose) if by and whose else {"best": [], "worst": []}
        out: Update = {}
        for which, rows in found.items():
            rows = [(outcome.images[name], caption) for name, caption in rows if name in outcome.images]
            outcome.shown[which] = [path for path, caption in rows]
            words = _("Got better by {metric}: click one") if which == "best" else _("Got worse by {metric}: click one")
            label = words.format(metric=_(find(by).title)) if by else None
            out[which] = gr.Gallery(gallery_items(rows), visible=bool(rows), label=label)
        return out

    def open_best(self, request: gr.Request, event: gr.SelectData) -> Update:
        """Opens an image that got better in Compare, under the model and the method that were measured."""
        return self._open(request, "best", event)

    def open_worst(self, request: gr.Request, event: gr.SelectData) -> Update:
        """The same of an image that got worse."""
        return self._open(request, "worst", event)

    @error_notices
    def _open(self, request: gr.Request, which: str, event: gr.SelectData) -> Update:
        outcome = self._outcome(request)
        shown = outcome.shown.get(which, [])
        photo = copy_to_cache(shown[index_of(event.index, shown)])
        return self.open_in_compare(outcome.model, visitor(request), photo, outcome.method)


def _holdout_words(workspace: Workspace) -> list[str]:
    """The split that a training drew, where the data has none."""
    if not workspace.holdout or "all" not in workspace.data.splits:
        return []
    share, seed = workspace.holdout
    return ["--share", f"{share:g}", "--seed", str(seed)]


def _curves(evaluation: Evaluation, group: str, method: str, clamp: bool) -> Update:
    found = evaluation.curves(group, method, clamp)
    plots = {kind: gr.LinePlot(found.get(kind), visible=kind in found) for kind in CURVES}
    return {"curves": gr.Row(visible=bool(found)), **plots}
