"""The All methods tab: every method and source of the same pass, in one grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from bsoftmax import METHODS

from ..compare.handlers import Handlers, to_browser
from ..compare.page import Page
from ..compare.present import overview, present
from ..components.canvas import GridCanvas, MapData
from ..components.inputs import endpoint, error_notices
from ..server.schemas import Chosen


@dataclass(frozen=True)
class Added:
    """The kinds of methods ("slow", "more") that a visitor added to the grid of a picture and class."""

    picture: str
    class_number: int
    kinds: frozenset[str]


class GridHandlers(Handlers):
    """Event handlers of the grid."""

    @error_notices
    def overview(self, photo: str | None, model: str, chosen: Chosen) -> MapData:
        """Maps of one class under every quick method, for every evidence source."""
        analysis, k = self.explained(photo, model, chosen)
        with self.session.quick:
            return to_browser(analysis, overview(analysis, k))

    @error_notices
    def overview_slow(
        self, photo: str | None, model: str, chosen: Chosen, added: Added | None,
        request: gr.Request | None = None, progress: gr.Progress = gr.Progress(),
    ) -> tuple[MapData, Added]:  # fmt: skip
        """The same with the slow CAM methods, which run the trunk once a channel."""
        return self._with("slow", photo, model, chosen, added, request, progress)

    @error_notices
    def overview_more(
        self, photo: str | None, model: str, chosen: Chosen, added: Added | None,
        request: gr.Request | None = None, progress: gr.Progress = gr.Progress(),
    ) -> tuple[MapData, Added]:  # fmt: skip
        """The same with more methods below it: of attention, of random masks, at pixels."""
        return self._with("more", photo, model, chosen, added, request, progress)

    def _with(
        self, kind: str, photo: str | None, model: str, chosen: Chosen, added: Added | None,
        request: gr.Request | None, progress: gr.Progress,
    ) -> tuple[MapData, Added]:  # fmt: skip
        """The grid with methods of a kind, and those that were added before for the same picture and class."""
        analysis, k = self.explained(photo, model, chosen)
        same = added and (added.picture, added.class_number) == (analysis.key, k)
        kinds = {kind, *(added.kinds if added and same else ())}
        asked = [m for m in analysis.methods if ("more" if METHODS[m].more else "slow") in kinds]
        work = lambda tick: overview(analysis, k, "slow" in kinds, tick, "more" in kinds)  # noqa: E731
        made = self.computed(work, any(map(analysis.takes_seconds, asked)), request, progress)
        return to_browser(analysis, made), Added(analysis.key, k, frozenset(kinds))

    @error_notices
    def pick(self, photo: str | None, model: str, chosen: Chosen, event: gr.EventData) -> tuple[Any, Any, Any]:
        """Shows the picked method in the Compare tab."""
        method = getattr(event, "value", event._data)
        if not isinstance(method, str) or method not in METHODS:
            return gr.skip(), gr.skip(), gr.skip()
        analysis, k = self.explained(photo, model, chosen)
        data = to_browser(analysis, present(analysis, k, method))
        return gr.Tabs(selected="compare"), gr.Dropdown(value=method), data


def build(page: Page) -> None:
    """Lays out the grid; it is computed when the tab is opened."""
    handlers, controls = GridHandlers(page.session), page.controls
    grid = GridCanvas(label="all methods", elem_id="grid")
    with gr.Row():
        slow = gr.Button("Add the slow methods (one pass for every channel)", size="sm", elem_id="add-slow")
        more = gr.Button("Add more methods (a few minutes)", size="sm", elem_id="add-more")
        stop = gr.Button("Stop", size="sm", variant="stop", visible=False, elem_id="stop-overview")
    added = gr.State(None)
    seen = [controls.photo, controls.model, controls.chosen]
    page.tab.select(handlers.overview, seen, grid, **endpoint("overview"), show_progress="hidden", concurrency_limit=4)
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    for button, handler in ((slow, handlers.overview_slow), (more, handlers.overview_more)):
        button.click(lambda: gr.Button(visible=True), None, stop, **quiet)
        done = button.click(handler, [*seen, added], [grid, added], **endpoint(handler.__name__), concurrency_limit=8)
        for ended in (done.success, done.failure):
            ended(lambda: gr.Button(visible=False), None, stop, **quiet)
    stop.click(handlers.stop_slow, None, None, **quiet | endpoint("stop_slow"))
    grid.pick(handlers.pick, seen, [page.tabs, controls.method, controls.canvas], api_visibility="private")
