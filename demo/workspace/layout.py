"""Layout and wiring that Train and Evaluate share: sources of images, the running job, what leads back to Compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr

from ..compare.page import Page
from ..components.canvas import STATIC
from ..components.inputs import endpoint, named_outputs
from ..components.report import Report, ReportData, text
from ..server import permissions
from .job_handlers import JobHandlers

Widgets = dict[str, Any]
COMPARE = "model opened canvas chosen method"  # set when a photograph is shown under another model
REMOVED = "Closing this tab removes your files within seconds; after a lost connection they go in about two hours."
JOB = "status run go timer stop discard curves"  # set by every step of a job
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


def compare_widgets(page: Page) -> Widgets:
    """The widgets of Compare that handlers here read or set, by name."""
    names = ("photo", "model", "opened", "canvas", "chosen", "method", "user_examples")
    return {"tabs": page.tabs, **{name: getattr(page.controls, name) for name in names}}


def select(on: Widgets, names: str) -> list[Any]:
    """Widgets by their names, separated by spaces."""
    return [on[name] for name in names.split()]


def gallery(label: str, elem_id: str, visible: bool = False) -> gr.Gallery:
    """Pictures to look at or to click."""
    return gr.Gallery(
        label=label, columns=6, height="auto", object_fit="cover", visible=visible, allow_preview=False, buttons=[],
        elem_id=elem_id, elem_classes="pictures", interactive=False,
    )  # fmt: skip


def upload(label: str, kind: str, elem_id: str, count: str = "single") -> gr.File:
    """A box for files; its label stands above its icon (app/theme.py)."""
    return gr.File(
        label=label, file_types=[kind], file_count=count, height=150, elem_id=elem_id, elem_classes="upload"
    )  # fmt: skip


def zip_tab(elem_id: str) -> Widgets:
    """A tab for a zip."""
    with gr.Tab("A zip"):
        return {"zip": upload("Zip with a folder for each class", ".zip", elem_id)}


def folder_tab(info: str, elem_id: str, button_id: str) -> Widgets:
    """A tab for a folder of this machine; none where the page is served to others."""
    if not permissions.is_local():
        return {}
    with gr.Tab("A folder"):
        return {
            "folder": gr.Textbox(label="Path on this computer", info=info, max_lines=1, elem_id=elem_id),
            "read": gr.Button("Read folder", size="sm", elem_id=button_id),
        }


def accepted(sentences: Iterable[str], expanded: bool, elem_id: str) -> None:
    """What a data set may be."""
    with gr.Accordion("What can be brought", open=expanded, elem_id=elem_id):
        gr.Markdown("\n".join(f"- {sentence}" for sentence in sentences))


def status_area(label: str, elem_id: str, prefix: str) -> Widgets:
    """The status of a job and its buttons."""
    on: Widgets = {"status": Report(label=label, elem_id=elem_id), "timer": gr.Timer(1, active=False)}
    with gr.Row():
        on["stop"] = gr.Button("Stop and keep", size="sm", visible=False, elem_id=f"{prefix}-stop")
        on["discard"] = gr.Button("Discard", size="sm", visible=False, elem_id=f"{prefix}-discard")
    return on


def command_box(elem_id: str) -> gr.Textbox:
    """The command line of a finished job."""
    return gr.Textbox(
        label="The same on the command line", buttons=["copy"], interactive=False, elem_id=elem_id, lines=1,
        max_lines=6,
    )  # fmt: skip


def preview_area(sentence: str, label: str, report_id: str, gallery_id: str) -> Widgets:
    """The data set before a job; `sentence` until there is one."""
    nothing = ReportData(blocks=[text(sentence, "quiet")])
    return {
        "preview": Report(nothing, label=label, elem_id=report_id),
        "samples": gallery("One image of each class", gallery_id),
    }


def guide(tab: str, figure: str | None = None) -> None:
    """What will happen, what a zip looks like, and a finished example, with its `figure` where that is described.

    app/theme.py hides it once there are images; scripts/finished_example.py makes the example.
    """
    with gr.Column(elem_id=f"{tab}-guide", elem_classes="guide"):
        html, css = ((STATIC / "guide" / name).read_text(encoding="utf-8") for name in (f"{tab}.html", "guide.css"))
        gr.HTML(html, css_template=css, apply_default_css=False, elem_id=f"{tab}-steps")
        with gr.Accordion("A finished example: the sample set", open=False, elem_id=f"{tab}-example"):
            found = json.loads((STATIC / "guide" / "example.json").read_text(encoding="utf-8"))
            Report(ReportData(blocks=found[tab]), label="example", elem_id=f"{tab}-example-report")
            if figure:
                gr.Image(
                    STATIC / "guide" / "forest.svg", label="What differs", show_label=False, alt_text=figure,
                    buttons=[], interactive=False, type="filepath", elem_id=f"{tab}-example-figure",
                    elem_classes="forest",
                )  # fmt: skip


def wire_sources(
    on: Widgets, handlers: JobHandlers, planned: dict[str, Any], prefix: str, more: Sequence[tuple] = ()
) -> None:
    """Every source loads its images, then the plan follows. `more`: (event, handler, inputs, outputs, endpoint)."""
    sources = [
        (on["zip"].upload, handlers.bring_zip, "zip", "preview", f"{prefix}_zip"),
        (on["sample"].click, handlers.bring_sample, "", "preview", f"{prefix}_sample"),
        *more,
    ]
    if "folder" in on:
        sources.append((on["read"].click, handlers.bring_folder, "folder", "preview", f"{prefix}_folder"))
        sources.append((on["folder"].submit, handlers.bring_folder, "folder", "preview", None))
    for event, handler, inputs, outputs, name in sources:
        event(
            named_outputs(handler, on), select(on, inputs), select(on, outputs), concurrency_limit=2,
            concurrency_id="bring", show_progress_on=on["preview"], **endpoint(name),
        ).success(**planned, api_visibility="private")  # fmt: skip


def wire_job(
    on: Widgets, handlers: JobHandlers, run: Callable, inputs: list[Any], outputs: str, names: tuple[str, str, str]
) -> None:
    """Queue, run, stop and discard; `names` are the endpoints of the last three."""
    unqueued: Any = {"queue": False, "show_progress": "hidden"}
    enqueued = on["go"].click(
        named_outputs(handlers.enqueue, on), None, select(on, f"{JOB} outcome"), queue=False, **PRIVATE
    )
    running = enqueued.success(
        named_outputs(run, on), inputs, select(on, f"{JOB} outcome {outputs}"), concurrency_id="train",
        concurrency_limit=1, show_progress="hidden", **endpoint(names[0]),
    )  # fmt: skip
    on["timer"].tick(named_outputs(handlers.wait, on), None, on["status"], queue=False, **PRIVATE)
    on["stop"].click(named_outputs(handlers.stop, on), None, on["stop"], **endpoint(names[1]), **unqueued)
    on["discard"].click(
        named_outputs(handlers.discard, on), None, select(on, JOB), cancels=[running], **endpoint(names[2]), **unqueued
    )


def wire_to_compare(on: Widgets, event: Callable, handler: Callable, inputs: str = "") -> None:
    """Opens a picture in Compare. The photograph's widget follows in a step of its own: its change event asks for maps
    under the model in the menu, which must be set by then.
    """
    event(named_outputs(handler, on), select(on, inputs), select(on, f"tabs picked {COMPARE}"), **PRIVATE).success(
        lambda path: path, on["picked"], on["photo"], **PRIVATE
    )
