"""The Train tab: images in, a softmax head and a sigmoid branch out."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bsoftmax.data.limits import Limits, describe
from bsoftmax.models import zoo
from bsoftmax.models.backbones import BACKBONES

from ..compare.page import Page
from ..components.inputs import Menu, endpoint, named_outputs
from ..components.report import Report
from ..workspace import layout
from ..workspace.layout import Widgets, select
from .handlers import TrainHandlers
from .settings import LABELS, RANGES, SOLVERS, STAGES, STARTS, Settings

INTRO = (
    "Bring pictures of your own classes. A softmax head and a sigmoid branch are trained on the features of a frozen "
    f"trunk, then both explain your own pictures under **Compare**. {layout.REMOVED}"
)


def build(page: Page) -> None:
    """Lays the tab out and wires it."""
    handlers = TrainHandlers(page.session, page.workspaces, page.limits)
    on = layout.compare_widgets(page)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_id="train-controls"):
            gr.Markdown(INTRO)
            on |= _sources(page.limits)
            on |= _settings()
            on["go"] = gr.Button("Train", variant="primary", interactive=False, elem_id="train-go")
        with gr.Column(scale=5, min_width=320, elem_id="train-stage"):
            on |= _running()
            on |= _outcome()
            on |= layout.preview_area(
                "No images yet. This is what happens once you bring some:", "images", "preview", "samples"
            )
            layout.guide("train")
    _wire_data(handlers, on)
    results = "loss accuracy recalled result differing command checkpoint heads card model user_examples"
    layout.wire_job(on, handlers, handlers.train, _settings_of(on), results, ("train", "stop", "discard"))
    _wire_results(handlers, on)


def _sources(limits: Limits) -> Widgets:
    on: Widgets = {"sample": gr.Button("Use the sample set", elem_id="use-sample")}
    with gr.Tabs(elem_id="sources"):
        on |= layout.zip_tab("zip")
        with gr.Tab("Class by class"):
            on["class_name"] = gr.Textbox(label="Class name", max_lines=1, max_length=100, elem_id="class-name")
            on["class_files"] = layout.upload("Its pictures", "image", "class-files", "multiple")
            with gr.Row():
                on["add"] = gr.Button("Add class", size="sm", elem_id="add-class")
                on["remove"] = gr.Button("Remove all", size="sm", elem_id="remove-classes")
        info = "A folder with a folder for each class, or with train and val."
        on |= layout.folder_tab(info, "folder", "read-folder")
    layout.accepted(describe(limits), True, "limits")
    return on


def _settings() -> Widgets:
    default = Settings()
    ranges = {name: dict(zip(("minimum", "maximum"), span)) for name, span in RANGES.items()}
    values = {name: getattr(default, name) for name in LABELS}

    def slider(name: str, step: float) -> gr.Slider:
        return gr.Slider(
            value=values[name], step=step, label=LABELS[name], buttons=[], elem_id=f"set-{name}", **ranges[name]
        )

    def number(name: str) -> gr.Number:
        return gr.Number(values[name], label=LABELS[name], elem_id=f"set-{name}", min_width=100, **ranges[name])

    def menu(name: str, choices: list, **more: Any) -> Menu:
        return Menu(choices, value=values[name], label=LABELS[name], elem_id=f"set-{name}", **more)

    with gr.Accordion("Settings", open=False, elem_id="settings"):
        trunks = [*zoo.bundled(), *BACKBONES]
        on = {"trunk": menu("trunk", trunks, allow_custom_value=True, info="Bundled, or any timm name.")}
        on["stage1"] = menu("stage1", [(words, key) for key, words in STAGES.items()])
        on["views"] = slider("views", 1)
        with gr.Row():
            on |= {"share": number("share"), "seed": number("seed")}
        on["solver"] = menu("solver", [(words, key) for key, words in SOLVERS.items()])
        with gr.Column(visible=default.solver == "sgd", elem_id="sgd-settings") as steps:
            on["epochs"] = slider("epochs", 1)
            with gr.Row():
                on |= {"lr": number("lr"), "weight_decay": number("weight_decay")}
            on["init"] = menu("init", [(words, key) for key, words in STARTS.items()])
        # an optimum does not depend on them
        on["solver"].change(
            lambda solver: gr.Column(visible=solver == "sgd"), on["solver"], steps, api_visibility="private",
            show_progress="hidden",
        )  # fmt: skip
    return on


def _running() -> Widgets:
    with gr.Column(visible=False, elem_id="run") as run:
        on: Widgets = {"run": run, **layout.status_area("training", "status", "train")}
        with gr.Row(visible=False, elem_id="curves") as on["curves"]:
            for name, y, colour, title, scale in (
                ("loss", "loss", "head", "Loss", 3),
                ("accuracy", "percent", "head", "Validation accuracy, %", 3),
                ("recalled", "percent", "class", "Found by the branch, % of class", 4),
            ):
                on[name] = gr.LinePlot(
                    x="epoch", y=y, color=colour, title=title, height=220, x_axis_format="d", min_width=220,
                    elem_id=f"curve-{name}",
                    x_title="epoch", y_title=" ", color_title=" ", scale=scale,
                    show_label=False, container=False, buttons=[],
                )  # fmt: skip
    return on


def _outcome() -> Widgets:
    with gr.Column(visible=False, elem_id="outcome") as outcome:
        on: Widgets = {"outcome": outcome, "picked": gr.State(None)}
        on["see"] = gr.Button("See it in Compare", variant="primary", elem_id="see")
        on["result"] = Report(label="result", elem_id="result")
        on["differing"] = layout.gallery("The heads disagree: click one to compare", "differing", visible=True)
        with gr.Row():
            on["checkpoint"] = gr.DownloadButton("Checkpoint (.safetensors)", size="sm", elem_id="get-checkpoint")
            on["heads"] = gr.DownloadButton("Its heads alone", size="sm", visible=False, elem_id="get-heads")
            on["card"] = gr.DownloadButton("Model card (.md)", size="sm", elem_id="get-card")
        on["command"] = layout.command_box("command")
        with gr.Accordion("Push to the Hub", open=False, elem_id="hub"):
            on["repository"] = gr.Textbox(
                label="Repository", placeholder="owner/name", max_lines=1, elem_id="repository"
            )
            on["token"] = gr.Textbox(
                label="Token that may write", type="password", max_lines=1, info="Used once, kept nowhere.",
                elem_id="hub-token",
            )  # fmt: skip
            on["push"] = gr.Button("Push", size="sm", elem_id="push")
            on["pushed"] = gr.Textbox(label="Pushed", interactive=False, visible=False, elem_id="pushed")
    return on


def _settings_of(on: Widgets) -> list[Any]:
    return [on[name] for name in LABELS]


def _wire_data(handlers: TrainHandlers, on: Widgets) -> None:
    planned = {
        "fn": named_outputs(handlers.plan, on), "inputs": _settings_of(on), "outputs": select(on, "preview samples go"),
        "show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "plan",
    }  # fmt: skip
    for name in (
        "trunk",
        "views",
        "epochs",
        "share",
        "seed",
        "stage1",
        "solver",
    ):  # the first gives the endpoint its name
        on[name].change(**planned, trigger_mode="always_last", **endpoint("plan" if name == "trunk" else None))
    outputs = "preview samples class_name class_files"
    by_class = (on["add"].click, handlers.add_class, "class_name class_files", outputs, "add_class")
    layout.wire_sources(on, handlers, planned, "bring", [by_class])
    on["remove"].click(named_outputs(handlers.remove_classes, on), None, on["preview"], **layout.PRIVATE)


def _wire_results(handlers: TrainHandlers, on: Widgets) -> None:
    layout.wire_to_compare(on, on["see"].click, handlers.show_trained, "method")
    layout.wire_to_compare(on, on["differing"].select, handlers.show_differing, "method")
    on["push"].click(
        handlers.push, select(on, "repository token"), select(on, "pushed token"), api_visibility="private",
        concurrency_limit=1, show_progress_on=on["repository"],
    )  # fmt: skip
