"""Event handlers of Train and Evaluate before a job: images brought and looked through."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.data.limits import Limits
from bsoftmax.data.sample import sample_zip
from bsoftmax.data.sets import ImageSet
from bsoftmax.utils.language import gettext as _

from ..compare.handlers import ticker
from ..compare.user_models import UserModelHandlers
from ..components.files import gallery_items, used
from ..components.inputs import error_notices, visitor
from ..components.report import ReportData, text
from ..server import permissions
from ..server.session import Session
from . import datasets
from .preview import first_of_each_class
from .workspaces import Workspace, Workspaces

Update = dict[str, Any]


class DataHandlers(UserModelHandlers):
    """Handlers answer {name of a widget: value}, see `named_outputs`; every session has its own workspace."""

    TAB, KIND = "train", "training"

    def __init__(self, session: Session, workspaces: Workspaces, limits: Limits) -> None:
        super().__init__(session)
        self.workspaces, self.limits = workspaces, limits
        self._drawing = threading.Lock()

    def workspace(self, request: gr.Request) -> Workspace:
        """The session's workspace in this tab."""
        return self.workspaces.of(visitor(request), self.TAB)

    @error_notices
    def bring_zip(self, path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Reads a zip of class folders."""
        if not path:
            raise ValueError("Choose a zip of class folders first.")
        return self._load(request, Path(used(path)), progress)

    @error_notices
    def bring_folder(self, path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Reads a folder of this machine; offered only where the page is served to this machine alone."""
        permissions.check_host(request.headers.get("host", ""))
        if not path or not path.strip():
            raise ValueError("Write the path of a folder of class folders first.")
        return self._load(request, datasets.folder_of(path), progress)

    @error_notices
    def bring_sample(self, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Update:
        """Reads the sample set, which this project draws itself."""
        path = self.workspaces.root / "sample.zip"
        with self._drawing:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)  # a cleaner may have removed it
                sample_zip(path)
        return self._load(request, path, progress, "sample")

    @error_notices
    def add_class(
        self, name: str | None, files: list[str] | None, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Update:
        """Adds one class's pictures; from the second class on there is something to train on."""
        workspace = self.workspace(request)
        path = datasets.add_class(workspace, name or "", [used(file) for file in files or []])
        emptied = {"class_name": "", "class_files": None}
        if len(workspace.classes) > 1:
            return {**emptied, **self._load(request, path, progress)}
        ((only, count),) = workspace.classes.items()
        words = _("{name}: {n:,} pictures. Add at least one more class.")
        block = text(words.format(name=only, n=count))
        return {**emptied, "preview": ReportData(blocks=[block]), "samples": gr.Gallery(visible=False)}

    @error_notices
    def remove_classes(self, request: gr.Request) -> Update:
        """Removes the classes that were added one by one."""
        datasets.remove_classes(self.workspace(request))
        return {"preview": ReportData(blocks=[text(_("Nothing has been brought yet."), "quiet")])}

    def _load(self, request: gr.Request, source: Path, progress: gr.Progress, label: str = "") -> Update:
        self.workspaces.check_space()
        datasets.load_data(self.workspace(request), source, self.limits, ticker(progress, _("files")), label)
        return self.loading()

    @staticmethod
    def loading() -> Update:
        """Shown until the images have been looked through."""
        return {"preview": ReportData(blocks=[text(_("Looking at the images …"), "now")])}

    @staticmethod
    def sample_gallery(images: ImageSet) -> gr.Gallery:
        """One image of each class."""
        pictures = gallery_items(
            (images.paths[n], images.classes[images.labels[n]]) for n in first_of_each_class(images)
        )
        return gr.Gallery(pictures, visible=bool(pictures))
