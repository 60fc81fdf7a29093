"""What the Evaluate tab's events call: a set looked at, an evaluation followed, its results chosen from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax import DualBranch
from bsoftmax.cams import methods as cam_methods
from bsoftmax.evaluation.metrics import find
from bsoftmax.models import zoo

from ..compare.user_models import gallery, kept
from ..components.inputs import sentences
from ..components.report import ReportData, text
from ..server.user_models import is_user_model
from ..workspace import datasets
from ..workspace.data_handlers import Update
from ..workspace.job_handlers import NICE, JobHandlers, idle, stem
from ..workspace.jobs import Job
from ..workspace.preview import firsts
from ..workspace.workspaces import Workspace
from .plan import EvalPlan, EvalSettings, divided, methods_of, usual_split
from .progress import EvalProgress
from .results import CURVES, FILES, Evaluation


@dataclass
class Outcome:
    """What an evaluation has left: its numbers, the model, where its images lie, which of them are shown."""

    evaluation: Evaluation
    model: str
    images: dict[str, Path]
    method: str = ""
    shown: dict[str, list[Path]] = field(default_factory=dict)


class EvaluateHandlers(JobHandlers):
    """Answers are {name of a widget: value}; everything belongs to the browser that asks."""

    ROOM, KIND = "evaluate", "evaluation"

    @sentences
    def bring_trained(self, photo: str | None, method: str | None, request: gr.Request) -> Update:
        """Takes the images that were trained on last, and the model that learnt from them."""
        lender = self.workspaces.of(request.session_hash, "train")
        if lender.outcome is None:
            raise ValueError("Nothing has been trained here yet: train first, or bring images.")
        owned = self.session.own.get(lender.outcome)
        held = lender.held
        datasets.borrow(lender, self.workspace(request), self.limits)
        self.workspace(request).held = held
        said = ReportData(blocks=[text("Looking at the images …", "now")])
        return {"preview": said, **self.choose(owned.token, request.session_hash, photo, method)}

    @sentences
    def plan(
        self, request: gr.Request, model: str, measures: list[str], limit: float, methods: list[str], split: str | None,
        explain: str, rules: str, seed: float,
    ) -> Update:  # fmt: skip
        """What an evaluation with these settings would measure, and how long it would take."""
        values = (measures, limit, methods, split, explain, rules, seed)
        workspace, opened = self.workspace(request), self.session.model(model)
        menu = gr.Dropdown(choices=methods_of(opened))
        if workspace.data is None:
            return {"preview": ReportData(blocks=[text(f"Model: {self._called(model)}. Bring images to measure it on.",
                                                      "quiet")]), "methods": menu}  # fmt: skip
        plan, split = self._plan(workspace, model, opened, values)
        splits = gr.Dropdown(choices=list(plan.data.splits), value=split)
        pictures = gallery((plan.images.paths[n], plan.images.classes[plan.images.labels[n]])
                           for n in firsts(plan.images))  # fmt: skip
        return {
            "preview": ReportData(blocks=plan.blocks()), "split": splits, "methods": menu,
            "samples": gr.Gallery(pictures, visible=bool(pictures)),
            "go": gr.Button(interactive=not workspace.busy and bool(plan.measured()[0])),
        }  # fmt: skip

    def _plan(
        self, workspace: Workspace, model: str, opened: DualBranch, values: tuple[Any, ...]
    ) -> tuple[EvalPlan, str]:
        settings, data = EvalSettings.read(*values), divided(workspace.data, workspace.held)
        if settings.split not in data.splits:  # of the set before
            settings = EvalSettings.read(*values[:3], usual_split(data), *values[4:])
        return EvalPlan.of(data, self._called(model), opened, settings), settings.split

    def _called(self, model: str) -> str:
        return self.session.own.get(model).label if is_user_model(model) else model

    @sentences
    def evaluate(
        self, request: gr.Request, model: str, measures: list[str], limit: float, methods: list[str], split: str | None,
        explain: str, rules: str, seed: float,
    ) -> Iterator[Update]:  # fmt: skip
        """Measures the model on the images brought before, and tells how it goes; the last answer is the table."""
        values = (measures, limit, methods, split, explain, rules, seed)
        yield from self.working(request, lambda workspace: self._measured(workspace, model, values))

    def _measured(self, workspace: Workspace, model: str, values: tuple[Any, ...]) -> Iterator[Update]:
        opened, run = self.session.model(model), self.run_folder(workspace)
        plan, _ = self._plan(workspace, model, opened, values)
        words = ["evaluate", workspace.source, *self._model_words(workspace, model), *plan.settings.options()]
        if workspace.held and "all" in workspace.data.splits:
            share, seed = workspace.held
            words += ["--share", f"{share:g}", "--seed", str(seed)]
        words += ["--out", str(run / "evaluation"), "--cache", str(workspace.spot / "cache")]
        words += ["--events", "--nice", str(NICE)]
        words += [f"--called={workspace.called}"] if workspace.called else []  # whatever it begins with
        workspace.outcome, workspace.job, workspace.ticket = None, Job(words, run, workspace.spot, self.KIND), None
        done = yield from self.followed(workspace.job, EvalProgress())
        if done:  # else it was discarded
            evaluation = Evaluation.read(done["results"])
            images = {plan.images.name(n): path for n, path in enumerate(plan.images.paths)}
            workspace.outcome = Outcome(evaluation, model, images)
            yield self._finished(workspace, done, cam_methods.default(opened))

    def _model_words(self, workspace: Workspace, model: str) -> list[str]:
        """How the child is told the model: people's own lie beside the data, under their names."""
        if not is_user_model(model):
            return [] if model == zoo.DEFAULT else ["--model", model]
        owned, spot = self.session.own.get(model), workspace.spot
        for old in spot.glob("*.safetensors"):
            old.unlink()
        return ["--model", owned.model.save(spot / f"{stem(owned.label)}.safetensors").name]

    def _finished(self, workspace: Workspace, done: dict[str, Any], method: str) -> Update:
        outcome: Outcome = workspace.outcome
        evaluation = outcome.evaluation
        paths = {Path(path).name: path for path in done["files"]}
        group, methods = evaluation.groups()[0], evaluation.methods()
        method = method if method in [key for _, key in methods] else methods[0][1]
        command = shlex.join(evaluation.found["command"])
        return {
            **idle(), "outcome": gr.Column(visible=True), **self._view(outcome, group, "", method, ""),
            "group": gr.Radio(choices=evaluation.groups(), value=group),
            "by_method": gr.Dropdown(choices=methods, value=method),
            **{name: gr.DownloadButton(value=kept(paths[name]) if name in paths else None, visible=name in paths)
               for name in FILES},
            "protocol": ReportData(blocks=evaluation.protocol()),
            "command": f"bsoftmax sample sample\n{command}" if workspace.called == "sample" else command,
        }  # fmt: skip

    @sentences
    def look_at(self, group: str, metric: str, method: str, whose: str, request: gr.Request) -> Update:
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
        metric = metric if metric in [name for _, name in metrics] else metrics[0][1]
        keys = [key for _, key in kinds]
        ours = f"{method}/{(whose or '').partition('/')[2]}"  # the same source and clamp of another method
        whose = ours if ours in keys else keys[0] if keys else ""
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
        by = outcome.evaluation.seen(group, metric)
        found = outcome.evaluation.pictures(by, whose) if by and whose else {"best": [], "worst": []}
        out: Update = {}
        for which, rows in found.items():
            rows = [(outcome.images[name], caption) for name, caption in rows if name in outcome.images]
            outcome.shown[which] = [path for path, _ in rows]
            label = f"Got {'better' if which == 'best' else 'worse'} by {find(by).title}: click one" if by else None
            out[which] = gr.Gallery(gallery(rows), visible=bool(rows), label=label)
        return out

    def open_best(self, request: gr.Request, event: gr.SelectData) -> Update:
        """Opens an image that got better in Compare, under the model and the method that were measured."""
        return self._open(request, "best", event)

    def open_worst(self, request: gr.Request, event: gr.SelectData) -> Update:
        """The same of an image that got worse."""
        return self._open(request, "worst", event)

    @sentences
    def _open(self, request: gr.Request, which: str, event: gr.SelectData) -> Update:
        outcome = self._outcome(request)
        photo = kept(outcome.shown[which][int(event.index)])
        shown = self.choose(outcome.model, request.session_hash, photo, outcome.method)
        return {"tabs": gr.Tabs(selected="compare"), "picked": photo, **shown}


def _curves(evaluation: Evaluation, group: str, method: str, clamp: bool) -> Update:
    found = evaluation.curves(group, method, clamp)
    plots = {kind: gr.LinePlot(found.get(kind), visible=kind in found) for kind in CURVES}
    return {"curves": gr.Row(visible=bool(found)), **plots}
