"""Endpoints on a data set: prepared, trained on, measured, watched, stopped. Each data set is a token."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from bsoftmax.data.limits import Limits
from bsoftmax.data.sets import DataSet
from bsoftmax.gauge import report
from bsoftmax.models import zoo
from bsoftmax.reports import lead, verdicts
from bsoftmax.utils.text import quoted

from ..components.files import copy_to_cache, zip_to_cache
from ..evaluate.gauge import ALL_FILES as GAUGE_FILES
from ..evaluate.gauge import FIGURE, GaugeProgress
from ..evaluate.handlers import EvaluateHandlers
from ..evaluate.plan import EvalSettings
from ..evaluate.progress import EvalProgress
from ..evaluate.results import ALL_FILES, FOREST
from ..evaluate.results import FILES as TABLES
from ..server import permissions
from ..server.session import Session
from ..train.handlers import TrainHandlers
from ..train.progress import Progress
from ..train.settings import Settings
from ..workspace import datasets
from ..workspace.job_handlers import JobHandlers
from ..workspace.progress import JobProgress
from ..workspace.workspaces import Workspace, Workspaces
from .parts import Caller, Tokens, endpoint, given, served

Said = dict[str, Any]
LISTED = 200  # files left out, and why


class Jobs:
    """Endpoints that need a data set. A program's data set has workspaces of its own, as a visitor has."""

    NAMES = ("prepare", "train", "evaluate", "gauge", "watch", "stop")
    LONG = ("train", "evaluate", "gauge")  # one at a time, together with those of the page

    def __init__(self, session: Session, workspaces: Workspaces, limits: Limits, tokens: Tokens) -> None:
        self.tokens, self.workspaces, self.limits = tokens, workspaces, limits
        self.training = TrainHandlers(session, workspaces, limits)
        self.evaluation = EvaluateHandlers(session, workspaces, limits)

    @endpoint
    def prepare(self, request: gr.Request, zip: FileData | None = None, folder: str = "") -> dict:
        """Reads a data set, without a zip or a folder the drawn sample set, and returns its token and what is in it."""
        caller = Caller(self.tokens.new("data", request), request.headers)
        try:
            self._read(caller, zip, folder)
        except Exception:
            self.tokens.forget(caller.session_hash)
            raise
        return {"data": caller.session_hash, **_contents(self.workspaces.of(caller.session_hash).data)}

    def _read(self, caller: Caller, zip: FileData | None, folder: str) -> None:
        if zip:
            self.training.bring_zip(given(zip, "zip"), caller)
        elif folder and not permissions.is_local():
            raise ValueError("This server reads no folders of its own: send a zip.")
        elif folder:
            self.training.bring_folder(folder, caller)
        else:
            self.training.bring_sample(caller)

    @endpoint
    def train(
        self, data: str, trunk: str = Settings.trunk, stage1: str = Settings.stage1,
        solver: str = Settings.solver, share: float = Settings.share, seed: int = Settings.seed,
        views: int = Settings.views, epochs: int = Settings.epochs, lr: float = Settings.lr,
        weight_decay: float = Settings.weight_decay, init: str = Settings.init,
    ) -> Iterator[dict]:  # fmt: skip
        """Trains a softmax head and a sigmoid branch on a data set; answers with the progress, at last with the model.

        Its `model` is a token for other calls; `checkpoint` can be taken home. `watch` repeats the last answer.
        """
        settings = Settings(trunk, views, epochs, lr, weight_decay, init, stage1, share, seed, solver)
        begin = lambda workspace: self.training.begin(workspace, settings)  # noqa: E731
        kept = lambda workspace, done: self._trained(workspace, data, done, settings)  # noqa: E731
        yield from self._told(self.training, data, begin, Progress(), kept)

    def _trained(self, workspace: Workspace, owner: str, done: Said, settings: Settings) -> Said:
        trained = self.training.keep(workspace, owner, done, settings)
        return {
            "state": "done", "seconds": done["seconds"], "stopped_early": done["stopped"],
            "model": trained.user_model.token, "classes": list(trained.user_model.model.classes),
            "validation": trained.validation, "checkpoint": served(trained.checkpoint),
            "heads": served(trained.heads) if trained.heads else None, "card": served(trained.card),
            "command": trained.command,
        }  # fmt: skip

    @endpoint
    def evaluate(
        self, data: str, model: str = zoo.DEFAULT, measure: list[str] | None = None,
        limit: int = EvalSettings.limit, methods: list[str] | None = None, split: str = "", explain: str = "",
        protocol: str = EvalSettings.protocol, seed: int = EvalSettings.seed,
    ) -> Iterator[dict]:  # fmt: skip
        """Who is right? Measures a model's maps on a data set; answers with the progress, at last with the verdict.

        Every method, source and clamp has its metrics and its paired difference to softmax, with 95 % intervals; the
        tables are files. After a training on the same data set only the images that it did not learn from are measured.
        """
        values = _values(measure, limit, methods, split, explain, protocol, seed)
        begin = lambda workspace: self.evaluation.begin(workspace, model, values)  # noqa: E731
        yield from self._told(self.evaluation, data, begin, EvalProgress(), _evaluated)

    @endpoint
    def gauge(
        self, data: str, model: str = zoo.DEFAULT, measure: list[str] | None = None,
        limit: int = EvalSettings.limit, methods: list[str] | None = None, split: str = "",
        protocol: str = EvalSettings.protocol, seed: int = EvalSettings.seed,
    ) -> Iterator[dict]:  # fmt: skip
        """How far off centre may this head be? Moves the softmax head's rows and measures its maps on a data set.

        Answers with the progress, at last with the verdict, a figure and all numbers.
        """
        values = _values(measure, limit, methods, split, "", protocol, seed)
        begin = lambda workspace: self.evaluation.begin_sweep(workspace, model, values)  # noqa: E731
        yield from self._told(self.evaluation, data, begin, GaugeProgress(), _swept)

    @endpoint
    def watch(self, data: str) -> dict:
        """What the training and the evaluation of a data set said last: their progress, or their result."""
        return {tab.KIND: self._workspace(tab, data).told for tab in (self.training, self.evaluation)}

    @endpoint
    def stop(self, request: gr.Request, data: str, discard: bool = False) -> dict:
        """Ends what runs on a data set early and keeps what it has, so that its call answers soon."""
        running = [tab for tab in (self.training, self.evaluation) if self._workspace(tab, data).running]
        for tab in running:
            (tab.discard if discard else tab.stop)(Caller(data, request.headers))
        return {"stopping": [tab.KIND for tab in running]}

    def _workspace(self, tab: JobHandlers, data: str) -> Workspace:
        """A data set's workspace in a tab. Raises ValueError for an unknown token."""
        if not data.startswith("data-") or self.workspaces.of(data).data is None:
            raise ValueError(f"There is no data set {quoted(data)} on this server (any more): prepare it again.")
        return self.workspaces.of(data, tab.TAB)

    def _told(
        self, tab: JobHandlers, data: str, begin: Callable[[Workspace], Any], progress: JobProgress,
        result: Callable[[Workspace, Said], Said],
    ) -> Iterator[Said]:  # fmt: skip
        """What a job that `begin` starts says: its progress, at last its `result`; the last is kept for `watch`."""
        workspace = self._workspace(tab, data)
        if workspace.running:
            raise ValueError(f"One {tab.KIND} is under way on these images already: watch it, or stop it.")
        with _failures(tab, workspace), tab.turn(workspace):
            self._bring(tab, workspace, data)
            begin(workspace)
            done = yield from _progress(tab, workspace, progress)
            workspace.told = result(workspace, done) if done else {"state": "discarded"}
            yield workspace.told

    def _bring(self, tab: JobHandlers, workspace: Workspace, data: str) -> None:
        """The images of the training, and how it split them, for an evaluation of the same data set."""
        prepared = self.workspaces.of(data)
        if workspace is prepared:
            return
        if workspace.data is None:
            datasets.copy_data(prepared, workspace, self.limits)
        workspace.holdout = prepared.holdout

    def leave(self, owner: str) -> None:
        """Removes a data set whose session has ended."""
        self.workspaces.remove(owner)


@contextmanager
def _failures(tab: JobHandlers, workspace: Workspace) -> Iterator[None]:
    """Keeps the sentence of a job that fails, or that its caller left, for `watch`."""
    try:
        yield
    except Exception as error:
        workspace.told = {"state": "failed", "error": tab.failure(error)}
        raise
    except GeneratorExit:
        workspace.told = {"state": "ended", "error": "The call was ended by its caller."}
        raise


def _progress(tab: JobHandlers, workspace: Workspace, progress: JobProgress) -> Generator[Said, None, Said | None]:
    """The progress of a job that has been started; returns its event "done", None when it was discarded."""
    steps = tab.follow(workspace.job, progress)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        epochs = getattr(progress, "epochs", [])
        workspace.told = {
            "state": "running", "stage": progress.stage(), "done": progress.done, "total": progress.total,
            "seconds": round(time.monotonic() - progress.start, 1), "epoch": epochs[-1] if epochs else None,
        }  # fmt: skip
        yield workspace.told


def _contents(data: DataSet) -> Said:
    """What is in a data set."""
    counts = zip(*(images.counts() for images in data.splits.values()))
    return {
        "layout": data.layout, "splits": {name: len(images) for name, images in data.splits.items()},
        "classes": {name: sum(each) for name, each in zip(data.classes, counts)},
        "left_out": [{"file": file, "why": why} for file, why in data.skipped[:LISTED]],
    }  # fmt: skip


def _values(
    measure: list[str] | None, limit: int, methods: list[str] | None, split: str, explain: str, protocol: str, seed: int
) -> tuple[Any, ...]:
    """The settings of an evaluation. Raises ValueError for invalid ones."""
    values = (measure or list(EvalSettings.metrics), limit, methods or [], split, explain, protocol, seed)
    EvalSettings.read(*values)
    return values


def _evaluated(workspace: Workspace, done: Said) -> Said:
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    kept = ("method", "source", "clamp", "metrics", "difference")
    files = {Path(path).name: path for path in done["files"]}
    out = {name: served(copy_to_cache(files[name])) for name in (FOREST, *TABLES) if name in files}
    return {
        "state": "done", "seconds": done["seconds"], "stopped_early": done["stopped"], "images": found["n"],
        "verdict": [f"{said.topic.title}. {said.headline}" for said in verdicts(found)], "setting": lead(found),
        "notes": found["notes"], "columns": [{key: column[key] for key in kept} for column in found["columns"]],
        "files": {**out, ALL_FILES: served(zip_to_cache(ALL_FILES, done["files"]))},
    }  # fmt: skip


def _swept(workspace: Workspace, done: Said) -> Said:
    found = json.loads(Path(done["results"]).read_text(encoding="utf-8"))
    files = {Path(path).name: path for path in done["files"]}
    return {
        "state": "done", "seconds": done["seconds"], "images": found["n"], "complete": found["complete"],
        "verdict": report.verdict(found), "notes": found["notes"], "head": found["head"],
        "crossings": found["crossings"],
        "files": {
            FIGURE: served(copy_to_cache(files[FIGURE])), GAUGE_FILES: served(zip_to_cache(GAUGE_FILES, done["files"])),
        },
    }  # fmt: skip
