"""The page: title, tabs, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from . import about, compare, evaluate, methods, policy, train
from .desks import Desks
from .handlers import Handlers
from .session import Session


def build_app(session: Session) -> gr.Blocks:
    """The whole app around one session."""
    limits = policy.allowed()
    with gr.Blocks(title="bsoftmax", fill_width=True, delete_cache=(3600, 7200), analytics_enabled=False) as app:
        with gr.Row(elem_id="heading"):
            gr.Markdown("# bsoftmax\nWhat a softmax head and a sigmoid branch look at, side by side.")
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                controls = compare.build(session)
            with gr.Tab("All methods", id="methods") as tab:
                methods.build(session, controls, tabs, tab)
            desks = None
            if limits is not None:
                desks = Desks()
                with gr.Tab("Train", id="train"):
                    train.build(session, controls, tabs, limits, desks)
                with gr.Tab("Evaluate", id="evaluate") as tab:
                    evaluate.build(session, controls, tabs, tab, limits, desks)
            with gr.Tab("About", id="about"):
                about.build(session)
        on = controls
        restored = [on.photo, on.model, on.opened, on.canvas, on.chosen, on.method, on.link]
        app.load(Handlers(session).open_link, None, restored, api_visibility="private", show_progress="hidden")
        app.unload(leaving(session, desks))
    return app.queue(max_size=32, default_concurrency_limit=4)


def leaving(session: Session, desks: Desks | None) -> Callable[[gr.Request], None]:
    """What happens when a tab is closed: its jobs end, its files and its models go."""

    def leave(request: gr.Request) -> None:
        if desks:
            desks.leave(request.session_hash)
        session.own.forget(request.session_hash)

    return leave
