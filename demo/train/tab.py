"""The Train tab: images in, a softmax head and a sigmoid branch out."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bsoftmax.data.limits import Limits, describe
from bsoftmax.models import zoo
from bsoftmax.models.backbones import BACKBONES

from ..compare.tab import Controls
from ..components.inputs import named, spread
from ..components.report import Report, ReportData, text
from ..server import policy
from ..server.session import Session
from ..workspace.workspaces import Workspaces
from .handlers import TrainHandlers
from .settings import LABELS, RANGES, STAGES, STARTS, Settings

INTRO = (
    "Bring pictures of your own classes. A softmax head and a sigmoid branch are trained on the features of a frozen "
    "trunk, then both explain your own pictures under **Compare**. Closing this tab removes your files."
)
Widgets = dict[str, Any]


def build(session: Session, controls: Controls, tabs: gr.Tabs, limits: Limits, workspaces: Workspaces) -> None:
    """Lays the tab out and wires it."""
    handlers = TrainHandlers(session, workspaces, limits)
    on: Widgets = {"tabs": tabs, "photo": controls.photo, "model": controls.model, "opened": controls.opened,
                   "canvas": controls.canvas, "chosen": controls.chosen, "method": controls.method,
                   "own_examples": controls.own_examples}  # fmt: skip
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_id="train-controls"):
            gr.Markdown(INTRO)
            on |= _sources(limits)
            on |= _settings()
            on["go"] = gr.Button("Train", variant="primary", interactive=False, elem_id="train-go")
        with gr.Column(scale=5, min_width=320, elem_id="train-stage"):
            on |= _running()
            on |= _outcome()
            nothing = ReportData(blocks=[text("Your classes will be listed here before anything is trained.", "quiet")])
            on["preview"] = Report(nothing, label="images", elem_id="preview")
            on["samples"] = gr.Gallery(
                label="One image of each class", columns=6, height="auto", object_fit="cover", visible=False,
                allow_preview=False, buttons=[], elem_id="samples", elem_classes="pictures", interactive=False,
            )  # fmt: skip
    _wire_data(handlers, on)
    _wire_training(handlers, on)
    _wire_results(handlers, on)


def _sources(limits: Limits) -> Widgets:
    on: Widgets = {"sample": gr.Button("Use the sample set", elem_id="use-sample")}
    with gr.Tabs(elem_id="sources"):
        with gr.Tab("A zip"):
            on["zip"] = gr.File(
                label="Zip with a folder for each class", file_types=[".zip"], height=130, elem_id="zip"
            )
        with gr.Tab("Class by class"):
            on["class_name"] = gr.Textbox(label="Class name", max_lines=1, max_length=100, elem_id="class-name")
            on["class_files"] = gr.File(
                label="Its pictures", file_count="multiple", file_types=["image"], height=130, elem_id="class-files"
            )
            with gr.Row():
                on["add"] = gr.Button("Add class", size="sm", elem_id="add-class")
                on["remove"] = gr.Button("Remove all", size="sm", elem_id="remove-classes")
        if policy.is_local():
            with gr.Tab("A folder"):
                on["folder"] = gr.Textbox(
                    label="Path on this computer", info="A folder with a folder for each class, or with train and val.",
                    max_lines=1, elem_id="folder",
                )  # fmt: skip
                on["read"] = gr.Button("Read folder", size="sm", elem_id="read-folder")
    with gr.Accordion("What can be brought", open=True, elem_id="limits"):
        gr.Markdown("\n".join(f"- {sentence}" for sentence in describe(limits)))
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

    def menu(name: str, choices: list, **more: Any) -> gr.Dropdown:
        return gr.Dropdown(choices, value=values[name], label=LABELS[name], elem_id=f"set-{name}", **more)

    with gr.Accordion("Settings", open=False, elem_id="settings"):
        trunks = [*zoo.bundled(), *BACKBONES]
        on = {"trunk": menu("trunk", trunks, allow_custom_value=True, info="Bundled, or any timm name.")}
        on["stage1"] = menu("stage1", [(words, key) for key, words in STAGES.items()])
        on |= {"views": slider("views", 1), "epochs": slider("epochs", 1)}
        with gr.Row():
            on |= {"lr": number("lr"), "weight_decay": number("weight_decay")}
        on["init"] = menu("init", [(words, key) for key, words in STARTS.items()])
        with gr.Row():
            on |= {"share": number("share"), "seed": number("seed")}
    return on


def _running() -> Widgets:
    with gr.Column(visible=False, elem_id="run") as run:
        on: Widgets = {
            "run": run,
            "status": Report(label="training", elem_id="status"),
            "timer": gr.Timer(1, active=False),
        }
        with gr.Row():
            on["stop"] = gr.Button("Stop and keep", size="sm", visible=False, elem_id="train-stop")
            on["discard"] = gr.Button("Discard", size="sm", visible=False, elem_id="train-discard")
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
        # the photograph follows in a step of its own: its change asks for maps under the model in the menu
        on: Widgets = {"outcome": outcome, "picked": gr.State(None)}
        on["see"] = gr.Button("See it in Compare", variant="primary", elem_id="see")
        on["result"] = Report(label="result", elem_id="result")
        on["differing"] = gr.Gallery(
            label="The heads disagree: click one to compare", columns=6, height="auto", object_fit="cover",
            allow_preview=False, buttons=[], elem_id="differing", elem_classes="pictures", interactive=False,
        )  # fmt: skip
        with gr.Row():
            on["checkpoint"] = gr.DownloadButton("Checkpoint (.safetensors)", size="sm", elem_id="get-checkpoint")
            on["card"] = gr.DownloadButton("Model card (.md)", size="sm", elem_id="get-card")
        on["command"] = gr.Textbox(
            label="The same on the command line", buttons=["copy"], interactive=False, elem_id="command", lines=1,
            max_lines=6,
        )  # fmt: skip
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


def _asked(on: Widgets) -> list[Any]:
    return [on[name] for name in LABELS]


def _places(on: Widgets, names: str) -> list[Any]:
    return [on[name] for name in names.split()]


def _wire_data(handlers: TrainHandlers, on: Widgets) -> None:
    planned = {
        "fn": spread(handlers.plan, on), "inputs": _asked(on), "outputs": _places(on, "preview samples go"),
        "show_progress": "hidden", "concurrency_limit": 2, "concurrency_id": "plan",
    }  # fmt: skip
    for name in ("trunk", "views", "epochs", "share", "seed", "stage1"):  # the first gives the endpoint its name
        on[name].change(**planned, trigger_mode="always_last", **named("plan" if name == "trunk" else None))
    ways = [
        (on["zip"].upload, handlers.bring_zip, "zip", "preview", "bring_zip"),
        (on["sample"].click, handlers.bring_sample, "", "preview", "bring_sample"),
        (on["add"].click, handlers.add_class, "class_name class_files", "preview samples class_name class_files",
         "add_class"),
    ]  # fmt: skip
    if "folder" in on:
        ways.append((on["read"].click, handlers.bring_folder, "folder", "preview", "bring_folder"))
        ways.append((on["folder"].submit, handlers.bring_folder, "folder", "preview", None))
    for event, handler, inputs, outputs, name in ways:
        event(
            spread(handler, on), _places(on, inputs), _places(on, outputs), concurrency_limit=2,
            concurrency_id="bring", show_progress_on=on["preview"], **named(name),
        ).success(**planned, api_visibility="private")  # fmt: skip
    on["remove"].click(
        spread(handlers.remove_classes, on), None, on["preview"], api_visibility="private", show_progress="hidden"
    )


def _wire_training(handlers: TrainHandlers, on: Widgets) -> None:
    buttons = "status run go timer stop discard curves"
    enlisted = on["go"].click(
        spread(handlers.enlist, on), None, _places(on, f"{buttons} outcome"), queue=False, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    training = enlisted.success(
        spread(handlers.train, on), _asked(on),
        _places(on, f"{buttons} loss accuracy recalled outcome result differing command checkpoint card model "
                    "own_examples"),
        concurrency_id="train", concurrency_limit=1, show_progress="hidden", api_name="train",
    )  # fmt: skip
    on["timer"].tick(
        spread(handlers.wait, on), None, on["status"], queue=False, show_progress="hidden", api_visibility="private"
    )
    on["stop"].click(spread(handlers.stop, on), None, on["stop"], queue=False, show_progress="hidden", api_name="stop")
    on["discard"].click(
        spread(handlers.discard, on), None, _places(on, buttons), cancels=[training], queue=False,
        show_progress="hidden", api_name="discard",
    )  # fmt: skip


def _wire_results(handlers: TrainHandlers, on: Widgets) -> None:
    compared = _places(on, "tabs model opened canvas chosen method picked")
    for event, handler in ((on["see"].click, handlers.see), (on["differing"].select, handlers.see_other)):
        event(spread(handler, on), on["method"], compared, api_visibility="private", show_progress="hidden").success(
            lambda path: path, on["picked"], on["photo"], api_visibility="private", show_progress="hidden"
        )
    on["push"].click(
        handlers.push, _places(on, "repository token"), _places(on, "pushed token"), api_visibility="private",
        concurrency_limit=1, show_progress_on=on["repository"],
    )  # fmt: skip
