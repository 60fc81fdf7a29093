"""The page: title, tabs, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from ..compare import tab as compare_tab
from ..compare.handlers import Handlers
from ..evaluate import tab as evaluate_tab
from ..methods import tab as methods_tab
from ..server import permissions
from ..server.session import Session
from ..train import tab as train_tab
from ..workspace.workspaces import Workspaces
from . import about


def build_app(session: Session) -> gr.Blocks:
    """The whole app around one session."""
    limits = permissions.data_limits()
    with gr.Blocks(title="bsoftmax", fill_width=True, delete_cache=(3600, 7200), analytics_enabled=False) as app:
        with gr.Row(elem_id="heading"):
            gr.Markdown("# bsoftmax\nWhat a softmax head and a sigmoid branch look at, side by side.")
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                controls = compare_tab.build(session)
            with gr.Tab("All methods", id="methods") as tab:
                methods_tab.build(session, controls, tabs, tab)
            workspaces = None
            if limits is not None:
                workspaces = Workspaces()
                with gr.Tab("Train", id="train"):
                    train_tab.build(session, controls, tabs, limits, workspaces)
                with gr.Tab("Evaluate", id="evaluate") as tab:
                    evaluate_tab.build(session, controls, tabs, tab, limits, workspaces)
            with gr.Tab("About", id="about"):
                about.build(session)
        on = controls
        restored = [on.photo, on.model, on.opened, on.canvas, on.chosen, on.method, on.link]
        app.load(Handlers(session).open_link, None, restored, api_visibility="private", show_progress="hidden")
        app.unload(on_leave(session, workspaces))
    return app.queue(max_size=32, default_concurrency_limit=4)


def on_leave(session: Session, workspaces: Workspaces | None) -> Callable[[gr.Request], None]:
    """A handler for a closed page: its jobs end, its files and models are removed."""

    def leave(request: gr.Request) -> None:
        if workspaces:
            workspaces.remove(request.session_hash)
        session.user_models.remove(request.session_hash)

    return leave
