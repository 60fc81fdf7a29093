"""What the Train and Evaluate tabs' events call before a job: images brought and looked at."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.data.limits import Limits
from bsoftmax.data.sample import sample_zip

from ..compare.handlers import ticker
from ..compare.user_models import UserModelHandlers
from ..components.inputs import sentences
from ..components.report import ReportData, text
from ..server.session import Session
from . import datasets
from .workspaces import Workspace, Workspaces

Update = dict[str, Any]


class DataHandlers(UserModelHandlers):
    """Answers are {name of a widget: value}, see `doors.spread`; everything belongs to the browser that asks."""

    ROOM, KIND = "train", "training"

    def __init__(self, session: Session, workspaces: Workspaces, limits: Limits) -> None:
        super().__init__(session)
        self.workspaces, self.limits = workspaces, limits
        self._drawing = threading.Lock()

    def workspace(self, request: gr.Request) -> Workspace:
        """The browser's desk in this tab."""
        return self.workspaces.of(request.session_hash, self.ROOM)

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
        path = self.workspaces.root / "sample.zip"
        with self._drawing:
            if not path.exists():
                sample_zip(path)
        return self._brought(request, path, progress, "sample")

    @sentences
    def add_class(
        self, name: str, files: list[str] | None, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Update:
        """Adds one class's pictures; from the second class on there is something to train on."""
        workspace = self.workspace(request)
        path = datasets.add_class(workspace, name, files or [])
        emptied = {"class_name": "", "class_files": None}
        if len(workspace.classes) > 1:
            return {**emptied, **self._brought(request, path, progress)}
        ((only, count),) = workspace.classes.items()
        said = text(f"{only}: {count:,} pictures. Add at least one more class.")
        return {**emptied, "preview": ReportData(blocks=[said]), "samples": gr.Gallery(visible=False)}

    @sentences
    def remove_classes(self, request: gr.Request) -> Update:
        """Forgets the classes that were added one by one."""
        datasets.remove_classes(self.workspace(request))
        return {"preview": ReportData(blocks=[text("Nothing has been brought yet.", "quiet")])}

    def _brought(self, request: gr.Request, source: Path, progress: gr.Progress, called: str = "") -> Update:
        workspace = self.workspace(request)
        datasets.bring(workspace, source, self.limits, ticker(progress, "files"), called)
        return {"preview": ReportData(blocks=[text("Looking at the images …", "now")])}
