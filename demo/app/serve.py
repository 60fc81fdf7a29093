"""Serving the page: options, limits, and what an operator may ask."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio.mcp
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from bsoftmax.data.limits import LIMITS
from bsoftmax.models import zoo
from bsoftmax.utils.text import quoted

from ..language.page import InLanguage
from ..server import operation, permissions, storage
from ..server.lost_files import LostFiles
from ..server.run_folder import write_into_one_folder
from ..server.session import Session
from .layout import build_app
from .theme import CSS, THEME

MIDDLEWARE = [Middleware(LostFiles), Middleware(InLanguage)]
OPERATION = "BSOFTMAX_OPERATION"  # "on": as --operation


@dataclass(frozen=True)
class Serving:
    """How the page is served; None: as the environment says, or the default. `max_upload` in megabytes."""

    host: str | None = None
    port: int | None = None
    root_path: str | None = None
    max_upload: int | None = None
    training: bool = True
    models: tuple[str, ...] | None = None
    share_models: str | None = None
    operation: bool = False
    mcp: bool = False


def serve(options: Serving | None = None) -> None:
    """Builds the page and serves it until stopped. Raises ValueError for models that are not there."""
    options = options or Serving()
    mcp = options.mcp or os.environ.get("GRADIO_MCP_SERVER", "").strip().lower() == "true"
    if mcp:
        check_mcp()
    # for its own page of statistics gradio counts all past events anew after each one, with pandas
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")
    session = Session(menu(options))
    write_into_one_folder()
    gradio.mcp.DEFAULT_TEMP_DIR = get_upload_folder()  # read when gradio was imported, before that folder was there
    for name, value in (("GRADIO_SERVER_NAME", options.host), ("GRADIO_ROOT_PATH", options.root_path)):
        if value:
            os.environ[name] = value  # whether folders of this machine are read depends on it
    if not options.training:
        os.environ[permissions.VARIABLE] = "off"
    page = build_app(session)
    watched = options.operation or os.environ.get(OPERATION, "").strip().lower() == "on"
    app, _, _ = page.launch(
        theme=THEME, css=CSS,
        run_history=False,  # writing every event to the browser's storage makes sliders several times slower
        max_file_size=options.max_upload * 1_000_000 if options.max_upload else LIMITS.zip_bytes,
        server_name=os.environ.get("GRADIO_SERVER_NAME"), server_port=options.port, root_path=options.root_path,
        mcp_server=mcp, prevent_thread_lock=True, app_kwargs={"middleware": MIDDLEWARE},
        _frontend=False,  # else it ends where its first answer takes 3 seconds, as on a busy machine
    )  # fmt: skip
    if watched:
        operation.watch(app, page)
    page.block_thread()


def check_mcp() -> None:
    """Raises ValueError where the package that serves MCP is missing."""
    if importlib.util.find_spec("mcp") is None:
        raise ValueError("MCP needs the package mcp: python -m pip install 'bsoftmax[mcp]', or 'gradio[mcp]'.")


class Menu(Mapping[str, "str | Path"]):
    """Name -> what opens it, of every model in the menu; the folder of shared models is looked into each time.

    `chosen`: the only names shown, beside the default; None: all.
    """

    def __init__(self, found: Mapping[str, str], folder: Path | None, chosen: tuple[str, ...] | None) -> None:
        self._found, self._folder, self._chosen = found, folder, chosen

    def everything(self) -> dict[str, str | Path]:
        """Also what is not chosen."""
        paths = sorted(self._folder.glob("*.safetensors")) if self._folder else []
        return {**self._found, **{path.stem: path for path in paths if path.stem not in self._found}}

    def _shown(self) -> dict[str, str | Path]:
        found = self.everything()
        names = found if self._chosen is None else dict.fromkeys((zoo.DEFAULT, *self._chosen))
        return {name: found[name] for name in names if name in found}

    def __getitem__(self, name: str) -> str | Path:
        return self._shown()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._shown())


def menu(options: Serving) -> Menu:
    """The menu that the options ask for. Raises ValueError for an unknown name or folder."""
    folder = Path(options.share_models) if options.share_models else storage.shared_models()
    if folder and not folder.is_dir():
        raise ValueError(f"There is no folder {quoted(options.share_models)} of models: check the path.")
    found = Menu({name: name for name in zoo.names()}, folder, options.models)
    if unknown := [name for name in options.models or () if name not in found.everything()]:
        raise ValueError(f"There is no model {quoted(unknown[0])}; choose among {', '.join(found.everything())}.")
    return found
