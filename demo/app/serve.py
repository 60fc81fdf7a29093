"""Serving the page: options, limits, and what an operator may ask."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bsoftmax.data.limits import LIMITS
from bsoftmax.models import zoo
from bsoftmax.utils.text import quoted

from ..server import operation, permissions
from ..server.run_folder import write_into_one_folder
from ..server.session import Session
from .layout import build_app
from .theme import CSS, THEME

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


def serve(options: Serving | None = None) -> None:
    """Builds the page and serves it until stopped. Raises ValueError for models that are not there."""
    options = options or Serving()
    session = Session(menu(options))
    write_into_one_folder()
    if options.host:
        os.environ["GRADIO_SERVER_NAME"] = options.host  # whether folders of this machine are read depends on it
    if not options.training:
        os.environ[permissions.VARIABLE] = "off"
    page = build_app(session)
    watched = options.operation or os.environ.get(OPERATION, "").strip().lower() == "on"
    app, _, _ = page.launch(
        theme=THEME, css=CSS,
        run_history=False,  # writing every event to the browser's storage makes sliders several times slower
        max_file_size=options.max_upload * 1_000_000 if options.max_upload else LIMITS.zip_bytes,
        server_name=os.environ.get("GRADIO_SERVER_NAME"), server_port=options.port, root_path=options.root_path,
        prevent_thread_lock=True,
    )  # fmt: skip
    if watched:
        operation.watch(app, page)
    page.block_thread()


def menu(options: Serving) -> dict[str, str | Path]:
    """Name -> what opens it, of every model in the menu. Raises ValueError for an unknown name or folder."""
    found: dict[str, str | Path] = {name: name for name in zoo.names()}
    if options.share_models:
        folder = Path(options.share_models)
        if not folder.is_dir():
            raise ValueError(f"There is no folder {quoted(options.share_models)} of models: check the path.")
        found |= {path.stem: path for path in sorted(folder.glob("*.safetensors")) if path.stem not in found}
    if options.models is None:
        return found
    if unknown := [name for name in options.models if name not in found]:
        raise ValueError(f"There is no model {quoted(unknown[0])}; choose among {', '.join(found)}.")
    return {name: found[name] for name in dict.fromkeys((zoo.DEFAULT, *options.models))}
