"""The Compare tab: one photograph, two identical frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax.cams import methods as cam_methods
from bsoftmax.models import zoo

from ..components.canvas import STATIC, CompareCanvas
from ..components.files import gallery_items
from ..components.inputs import Menu, Photo, endpoint, named_outputs
from ..distort import panel
from ..server.session import Session
from . import examples, exports, tour
from .classes import ranked_classes
from .handlers import Handlers, to_browser
from .present import method_choices, present
from .user_models import UserModelHandlers

ANALYSED = 16  # photographs at once: those that wait for the trunk share its passes
EXPLAINED = 16  # requests at once: slow ones wait for their lane, and must not keep quick ones out


@dataclass(frozen=True)
class Controls:
    """The widgets of Compare that other tabs read or set."""

    photo: Photo
    model: Menu
    chosen: gr.Dropdown
    method: gr.Dropdown
    canvas: CompareCanvas
    link: gr.State
    opened: gr.State
    fetcher: gr.DownloadButton
    user_examples: gr.Gallery


def build(session: Session) -> Controls:
    """Lays out the tab, wires it, and fills it with the first example."""
    first = examples.path_of(None)
    analysis = session.analysis(first)
    classes, method = ranked_classes(analysis), cam_methods.default(analysis.model)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=260, elem_id="controls"):
            photo = Photo(
                first, type="filepath", label="Photograph", sources=["upload", "clipboard", "webcam"], elem_id="photo",
                height=220, buttons=[],
            )  # fmt: skip
            gallery = {"columns": 3, "height": "auto", "object_fit": "cover", "allow_preview": False, "buttons": []}
            gallery |= {"interactive": False, "elem_classes": "pictures"}
            shown = gallery_items((examples.path_of(e.name), e.title) for e in examples.available())
            given = gr.Gallery(shown, label="Examples", elem_id="examples", **gallery)
            own = gr.Gallery(label="Your validation images", visible=False, elem_id="own-examples", **gallery)
            chosen = Menu(
                classes, value=classes[0][1], label="Class to explain", allow_custom_value=True, elem_id="class"
            )
            how = Menu(method_choices(analysis.model), value=method, label="Method", elem_id="method")
            stop = gr.Button("Stop", size="sm", variant="stop", visible=False, elem_id="stop-slow")
            with gr.Accordion("Model", open=False):
                model = Menu(session.model_names(), value=zoo.DEFAULT, label="Model", elem_id="model")
                checkpoint = gr.UploadButton(
                    "Open a checkpoint", file_types=[".safetensors"], size="sm", elem_id="open-checkpoint"
                )
            buttons, fetcher = _downloads()
        with gr.Column(scale=7, min_width=320, elem_id="stage"):
            first_maps = to_browser(analysis, present(analysis))
            canvas = CompareCanvas(
                first_maps,
                label="comparison",
                elem_id="compare",
                tour=tour.scripts(),
                server_functions=[_redraw(session)],
            )
            with gr.Accordion("Where does this head really stand?", open=False, elem_id="stand") as accordion:
                stand = gr.Markdown("Measuring.")
    controls = Controls(photo, model, chosen, how, canvas, gr.State(None), gr.State(zoo.DEFAULT), fetcher, own)
    handlers = UserModelHandlers(session)
    given.select(handlers.choose_example, None, photo, api_visibility="private", show_progress="hidden")
    _wire(handlers, controls, buttons)
    _wire_explain(handlers, controls, stop)
    _wire_user_models(handlers, controls, checkpoint)
    seen = [photo, model, chosen, how]
    accordion.expand(handlers.stand, seen, stand, **endpoint("stand"), show_progress="hidden", concurrency_limit=2)
    return controls


def _downloads() -> tuple[dict[str, gr.Button], gr.DownloadButton]:
    with gr.Accordion("Download", open=False):
        buttons = {
            f: gr.Button(text, size="sm", elem_id=f"get-{Path(f).suffix[1:]}") for f, text in exports.FILES.items()
        }
    # outside the accordion, which removes its contents from the page while it is closed
    return buttons, gr.DownloadButton("Prepared file", elem_id="fetcher", elem_classes="fetcher")


def _redraw(session: Session) -> Callable[[Any], dict[str, Any]]:
    def redraw(payload: Any) -> dict[str, Any]:
        return panel.redraw(session, payload)

    return redraw


def _wire(handlers: Handlers, on: Controls, buttons: dict[str, gr.Button]) -> None:
    seen, menus = [on.photo, on.model], [on.chosen, on.method]
    quietly: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": ANALYSED}
    shown = ([*seen, on.method, on.link], [on.canvas, *menus])
    once, ranked = ((STATIC / f"compare/{name}.js").read_text(encoding="utf-8") for name in ("once", "menu"))
    analysed = on.photo.change(handlers.analyse, *shown, **endpoint("compare"), **quietly, js=once)
    analysed.success(None, on.canvas, on.chosen, js=ranked)
    changed = on.model.input(handlers.change_model, *shown, **endpoint(None), **quietly)
    # when a model cannot be opened, the menu returns to the last that could
    changed.success(lambda name: name, on.model, on.opened, api_visibility="private", show_progress="hidden")
    changed.failure(lambda name: name, on.opened, on.model, api_visibility="private", show_progress="hidden")
    for file, button in buttons.items():
        _fetch(button.click, handlers.export, [*seen, *menus, gr.State(file)], on.fetcher, file.replace(".", "_"))
    for event, kind in ((on.canvas.figure, "figure"), (on.canvas.sweep, "sweep")):
        _fetch(event, handlers.distorted, [gr.State(kind)], on.fetcher, None)


def _wire_explain(handlers: Handlers, on: Controls, stop: gr.Button) -> None:
    """Another class or method; a slow method can be stopped."""
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    for event, name in ((on.chosen.input, "explain"), (on.method.input, None)):
        event(handlers.stoppable, [on.photo, on.model, on.method], stop, **quiet)
        explained = event(
            handlers.explain, [on.photo, on.model, on.chosen, on.method], on.canvas, **endpoint(name),
            show_progress="minimal", trigger_mode="always_last", concurrency_limit=EXPLAINED,
        )  # fmt: skip
        for ended in (explained.success, explained.failure):
            ended(lambda: gr.Button(visible=False), None, stop, **quiet)
    stop.click(handlers.stop_slow, None, None, **quiet | endpoint("stop_slow"))


def _wire_user_models(handlers: UserModelHandlers, on: Controls, checkpoint: gr.UploadButton) -> None:
    widgets = {name: getattr(on, name) for name in ("model", "opened", "canvas", "chosen", "method")}
    checkpoint.upload(
        named_outputs(handlers.open_checkpoint, widgets), [checkpoint, on.photo, on.method], list(widgets.values()),
        **endpoint("open_checkpoint"), concurrency_limit=2, show_progress_on=on.canvas,
    )  # fmt: skip
    on.user_examples.select(handlers.example, None, on.photo, api_visibility="private", show_progress="hidden")


def _fetch(event: Callable, handler: Callable, inputs: list, fetcher: gr.DownloadButton, name: str | None) -> None:
    """Makes a file, then presses the hidden download button that holds it: one click for the visitor."""
    press = "() => setTimeout(() => document.querySelector('#fetcher').click(), 50)"
    made = event(handler, inputs, fetcher, **endpoint(name), concurrency_limit=2, show_progress="minimal")
    made.success(None, js=press)
