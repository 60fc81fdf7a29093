"""The page: its title and its tabs."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from bsoftmax.utils import language

from ..api.endpoints import PATH, Api
from ..compare import tab as compare_tab
from ..compare.handlers import Handlers
from ..compare.page import Page
from ..components.descriptions import describe_once
from ..components.files import FILES
from ..evaluate import tab as evaluate_tab
from ..language.visitor import OfVisitors
from ..methods import tab as methods_tab
from ..server import permissions
from ..server.session import Session
from ..train import tab as train_tab
from ..workspace.workspaces import Workspaces
from . import about

TABS: dict[str, Callable[[Page], None]] = {  # after Compare
    "All methods": methods_tab.build, "Train": train_tab.build, "Evaluate": evaluate_tab.build, "About": about.build,
}  # fmt: skip
NEED_DATA = ("Train", "Evaluate")  # left out where training is switched off


def build_app(session: Session) -> gr.Blocks:
    """The whole app around one session; every visitor is answered in a language of their own."""
    language.use(OfVisitors())
    limits = permissions.data_limits()
    workspaces = Workspaces() if limits else None
    api = Api(session, workspaces, limits)
    with gr.Blocks(title="bsoftmax", fill_width=True, delete_cache=(600, 7200), analytics_enabled=False) as app:
        with gr.Row(elem_id="heading"):
            gr.Markdown("# bsoftmax\nWhat a softmax head and a sigmoid branch look at, side by side.")
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                on = compare_tab.build(session)
            for title, build in TABS.items():
                if limits or title not in NEED_DATA:
                    with gr.Tab(title) as tab:
                        build(Page(session, on, tabs, tab, limits, workspaces))
        # the photograph follows in a step of its own: its change event asks for maps under the model in the menu
        picked, quiet = gr.State(None), {"api_visibility": "private", "show_progress": "hidden"}
        restored = [picked, on.model, on.opened, on.canvas, on.chosen, on.method, on.link]
        loaded = app.load(Handlers(session).open_link, None, restored, **quiet)
        loaded.success(lambda path: path or gr.skip(), picked, on.photo, **quiet)
        app.unload(on_leave(session, workspaces, api))
    with app.route("For programs", PATH, show_in_navbar=False):
        api.build()
    describe_once(app)
    return app.queue(max_size=32, default_concurrency_limit=4)


def on_leave(session: Session, workspaces: Workspaces | None, api: Api) -> Callable[[gr.Request], None]:
    """A handler for a closed page: its jobs end, its files and models are removed."""

    def leave(request: gr.Request) -> None:
        if workspaces:
            workspaces.remove(request.session_hash)
        session.leave(request.session_hash)
        api.leave(request.session_hash)
        FILES.leave(request.session_hash)

    return leave
