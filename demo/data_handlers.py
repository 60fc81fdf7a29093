"""What the Train and Evaluate tabs' events call before a job: images brought and looked at."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.limits import Limits
from bsoftmax.sample import sample_zip

from . import datasets
from .desks import Desk, Desks
from .doors import sentences
from .handlers import ticker
from .own_handlers import OwnHandlers, gallery
from .preview import Plan, estimate
from .session import Session
from .settings import Settings
from .sheet import SheetData, text

Update = dict[str, Any]


class DataHandlers(OwnHandlers):
    """Answers are {name of a widget: value}, see `doors.spread`; everything belongs to the browser that asks."""

    ROOM, KIND = "train", "training"

    def __init__(self, session: Session, desks: Desks, limits: Limits) -> None:
        super().__init__(session)
        self.desks, self.limits = desks, limits
        self._drawing = threading.Lock()

    def desk(self, request: gr.Request) -> Desk:
        """The browser's desk in this tab."""
        return self.desks.of(request.session_hash, self.ROOM)

    @sentences
    def bring_zip(self, path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Reads a zip of class folders."""
        if not path:
            raise ValueError("Choose a zip of class folders first.")
        return self._brought(request, Path(path), progress)

    @sentences
    def bring_folder(self, path: str, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Reads a folder of this machine; offered only where the page is for this machine alone."""
        if not (path or "").strip():
            raise ValueError("Write the path of a folder of class folders first.")
        return self._brought(request, Path(path.strip()).expanduser(), progress)

    @sentences
    def bring_sample(self, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Takes the set that this project draws itself."""
        path = self.desks.root / "sample.zip"
        with self._drawing:
            if not path.exists():
                sample_zip(path)
        return self._brought(request, path, progress, "sample")

    @sentences
    def add_class(
        self, name: str, files: list[str] | None, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Update:
        """Adds one class's pictures; from the second class on there is something to train on."""
        desk = self.desk(request)
        path = datasets.add_class(desk, name, files or [])
        emptied = {"class_name": "", "class_files": None}
        if len(desk.classes) > 1:
            return {**emptied, **self._brought(request, path, progress)}
        ((only, count),) = desk.classes.items()
        said = text(f"{only}: {count:,} pictures. Add at least one more class.")
        return {**emptied, "preview": SheetData(blocks=[said]), "samples": gr.Gallery(visible=False)}

    @sentences
    def remove_classes(self, request: gr.Request) -> Update:
        """Forgets the classes that were added one by one."""
        datasets.remove_classes(self.desk(request))
        return {"preview": SheetData(blocks=[text("Nothing has been brought yet.", "quiet")])}

    def _brought(self, request: gr.Request, source: Path, progress: gr.Progress, called: str = "") -> Update:
        desk = self.desk(request)
        datasets.bring(desk, source, self.limits, ticker(progress, "files"), called)
        return {"preview": SheetData(blocks=[text("Looking at the images …", "now")])}

    @sentences
    def plan(
        self, request: gr.Request, trunk: str, views: float, epochs: float, lr: float, weight_decay: float, init: str,
        stage1: str, share: float, seed: float,
    ) -> Update:  # fmt: skip
        """What a training with these settings would learn from, and how long it would take."""
        settings = Settings.read(trunk, views, epochs, lr, weight_decay, init, stage1, share, seed)
        desk = self.desk(request)
        if desk.data is None:
            return {"preview": gr.skip()}
        plan = Plan.of(desk.data, settings)
        first = [(plan.train.paths[n], plan.train.classes[plan.train.labels[n]]) for n in plan.samples()]
        pictures = gallery(first)
        blocks = plan.blocks(estimate(plan, settings))
        return {
            "preview": SheetData(blocks=blocks),
            "samples": gr.Gallery(pictures, visible=bool(pictures)),
            "go": gr.Button(interactive=not desk.busy),
        }
