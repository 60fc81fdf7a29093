"""The page: title, tabs, nothing else."""

from __future__ import annotations

import gradio as gr

from . import about, compare, methods
from .handlers import Handlers
from .session import Session


def build_app(session: Session) -> gr.Blocks:
    """The whole app around one session."""
    with gr.Blocks(title="bsoftmax", fill_width=True, delete_cache=(3600, 7200), analytics_enabled=False) as app:
        with gr.Row(elem_id="heading"):
            gr.Markdown("# bsoftmax\nWhat a softmax head and a sigmoid branch look at, side by side.")
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                controls = compare.build(session)
            with gr.Tab("All methods", id="methods") as tab:
                methods.build(session, controls, tabs, tab)
            with gr.Tab("About", id="about"):
                about.build(session)
        on = controls
        restored = [on.photo, on.model, on.opened, on.canvas, on.chosen, on.method, on.link]
        app.load(Handlers(session).open_link, None, restored, api_visibility="private", show_progress="hidden")
    return app.queue(max_size=32, default_concurrency_limit=4)
