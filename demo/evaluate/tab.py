"""The Evaluate tab: images in, an honest table of every method, source and clamp out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax import METHODS
from bsoftmax.data.limits import Limits, describe

from ..compare.tab import Controls
from ..components.inputs import Menu, named, spread
from ..components.report import Report, ReportData, text
from ..server import policy
from ..server.session import Session
from ..workspace.workspaces import Workspaces
from .handlers import EvaluateHandlers
from .plan import EXPLAINED, MEASURES, EvalSettings
from .results import CURVES, FILES, GROUPS

INTRO = (
    "Are the sigmoid maps better on your images? The model chosen under **Compare** is measured on images you bring, "
    "every method, source and clamp, with intervals. Closing this tab removes your files."
)
PLACES = (
    "A folder for each class. For localisation add `boxes.csv` (path, x0, y0, x1, y1), a COCO `.json` or a folder "
    "`masks` beside them."
)
SETTINGS = ("measures", "limit", "methods", "split", "explain", "rules", "seed")
LOOKED = f"measured metric whose best worst {' '.join(CURVES)}"
COMPARED = "model opened canvas chosen method"
RULES = {"standard": "The WSOL benchmark's", "official": "The paper's code"}
Widgets = dict[str, Any]


def build(
    session: Session, controls: Controls, tabs: gr.Tabs, tab: gr.Tab, limits: Limits, workspaces: Workspaces
) -> None:
    """Lays the tab out and wires it."""
    handlers = EvaluateHandlers(session, workspaces, limits)
    on: Widgets = {"tabs": tabs, "photo": controls.photo, "model": controls.model, "opened": controls.opened,
                   "canvas": controls.canvas, "chosen": controls.chosen, "method": controls.method}  # fmt: skip
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_id="evaluate-controls"):
            gr.Markdown(INTRO)
            on |= _sources(limits)
            on |= _settings()
            on["go"] = gr.Button("Evaluate", variant="primary", interactive=False, elem_id="evaluate-go")
        with gr.Column(scale=5, min_width=320, elem_id="evaluate-stage"):
            on |= _running()
            on |= _outcome()
            nothing = ReportData(blocks=[text("Your images will be described here before they are measured.", "quiet")])
            on["preview"] = Report(nothing, label="images to measure", elem_id="evaluate-preview")
            on["samples"] = _gallery("One image of each class", "evaluate-samples")
    _wire_data(handlers, on, tab)
    _wire_job(handlers, on)
    _wire_results(handlers, on)


def _sources(limits: Limits) -> Widgets:
    on: Widgets = {
        "trained": gr.Button("Use what was trained on", elem_id="evaluate-trained"),
        "sample": gr.Button("Use the sample set", elem_id="evaluate-sample"),
    }
    with gr.Tabs(elem_id="evaluate-sources"):
        with gr.Tab("A zip"):
            on["zip"] = gr.File(
                label="Zip with a folder for each class", file_types=[".zip"], height=130, elem_id="evaluate-zip"
            )
        if policy.is_local():
            with gr.Tab("A folder"):
                on["folder"] = gr.Textbox(
                    label="Path on this computer", info="Class folders, or a benchmark's archive as it unpacks.",
                    max_lines=1, elem_id="evaluate-folder",
                )  # fmt: skip
                on["read"] = gr.Button("Read folder", size="sm", elem_id="evaluate-read")
    with gr.Accordion("What can be brought", open=False, elem_id="evaluate-limits"):
        gr.Markdown("\n".join(f"- {sentence}" for sentence in (PLACES, *describe(limits))))
    return on


def _settings() -> Widgets:
    default = EvalSettings()
    on: Widgets = {
        "measures": gr.CheckboxGroup(
            [(words, key) for key, words in MEASURES.items()], value=list(default.metrics), label="Measure",
            elem_id="evaluate-measures",
        ),
        "limit": gr.Number(
            default.limit, label="Images at most", minimum=1, precision=0,
            elem_id="evaluate-limit",
        ),
    }  # fmt: skip
    with gr.Accordion("Settings", open=False, elem_id="evaluate-settings"):
        on["methods"] = gr.Dropdown(
            [(m.label, key) for key, m in METHODS.items()], value=[], multiselect=True, label="Methods",
            info="None chosen: all that are quick.", elem_id="evaluate-methods",
        )  # fmt: skip
        on["split"] = Menu([], value=None, label="Part of the images", elem_id="evaluate-split")
        on["explain"] = gr.Dropdown(
            [(words, key) for key, words in EXPLAINED.items()], value=default.explain, label="Class explained",
            elem_id="evaluate-explain",
        )  # fmt: skip
        on["rules"] = gr.Dropdown(
            [(words, key) for key, words in RULES.items()], value=default.protocol, label="Protocol",
            elem_id="evaluate-rules",
        )  # fmt: skip
        on["seed"] = gr.Number(default.seed, label="Seed", minimum=0, precision=0, elem_id="evaluate-seed")
    return on


def _running() -> Widgets:
    with gr.Column(visible=False, elem_id="evaluate-run") as run:
        on: Widgets = {
            "run": run,
            "status": Report(label="evaluation", elem_id="evaluate-status"),
            "timer": gr.Timer(1, active=False),
        }
        with gr.Row():
            on["stop"] = gr.Button("Stop and keep", size="sm", visible=False, elem_id="evaluate-stop")
            on["discard"] = gr.Button("Discard", size="sm", visible=False, elem_id="evaluate-discard")
    return on


def _outcome() -> Widgets:
    with gr.Column(visible=False, elem_id="evaluate-outcome") as outcome:
        # the photograph follows in a step of its own: its change asks for maps under the model in the menu
        on: Widgets = {"outcome": outcome, "picked": gr.State(None)}
        with gr.Row(elem_id="evaluate-choice"):
            on["group"] = gr.Radio(list(GROUPS), label="Metrics", elem_id="evaluate-group", scale=3, min_width=300)
            on["metric"] = Menu([], label="Metric", elem_id="evaluate-metric", scale=2, min_width=200)
        on["measured"] = Report(label="table", elem_id="evaluate-table")
        on |= _details()
        with gr.Row():
            for name, words in FILES.items():
                on[name] = gr.DownloadButton(words, size="sm", min_width=90, elem_id=f"evaluate-{Path(name).stem}"
                                             f"-{Path(name).suffix[1:]}")  # fmt: skip
        on["command"] = gr.Textbox(
            label="The same on the command line", buttons=["copy"], interactive=False, elem_id="evaluate-command",
            lines=1, max_lines=6,
        )  # fmt: skip
        with gr.Accordion("Protocol: how this was measured", open=False, elem_id="evaluate-protocol"):
            on["protocol"] = Report(label="protocol", elem_id="evaluate-how")
    return on


def _details() -> Widgets:
    with gr.Row():
        on: Widgets = {
            "by_method": Menu([], label="Curves and images of", elem_id="evaluate-method", min_width=200),
            "whose": Menu([], label="Against the baseline: softmax, unclamped", elem_id="evaluate-whose",
                                 min_width=200),
        }  # fmt: skip
    with gr.Row(elem_id="evaluate-curves") as on["curves"]:
        for kind, curve in CURVES.items():
            on[kind] = gr.LinePlot(
                x="x", y="y", color="map", title=curve.title, x_title=curve.x, y_title=" ", color_title=" ", height=260,
                min_width=300, visible=False, show_label=False, container=False, buttons=[],
                elem_id=f"curve-{kind}",
            )  # fmt: skip
    on["best"] = _gallery("Got better: click one to compare", "evaluate-best")
    on["worst"] = _gallery("Got worse: click one to compare", "evaluate-worst")
    return on


def _gallery(label: str, elem_id: str) -> gr.Gallery:
    return gr.Gallery(
        label=label, columns=6, height="auto", object_fit="cover", visible=False, allow_preview=False, buttons=[],
        elem_id=elem_id, elem_classes="pictures", interactive=False,
    )  # fmt: skip


def _asked(on: Widgets) -> list[Any]:
    return [on["model"], *(on[name] for name in SETTINGS)]


def _places(on: Widgets, names: str) -> list[Any]:
    return [on[name] for name in names.split()]


def _wire_data(handlers: EvaluateHandlers, on: Widgets, tab: gr.Tab) -> None:
    planned = {
        "fn": spread(handlers.plan, on), "inputs": _asked(on),
        "outputs": _places(on, "preview samples go split methods"), "show_progress": "hidden", "concurrency_limit": 2,
        "concurrency_id": "plan",
    }  # fmt: skip
    tab.select(**planned, trigger_mode="always_last", api_name="evaluate_plan")
    for name in SETTINGS:
        on[name].input(**planned, trigger_mode="always_last", api_visibility="private")
    ways = [
        (on["zip"].upload, handlers.bring_zip, "zip", "preview", "evaluate_zip"),
        (on["sample"].click, handlers.bring_sample, "", "preview", "evaluate_sample"),
        (on["trained"].click, handlers.bring_trained, "photo method", f"preview {COMPARED}", None),
    ]
    if "folder" in on:
        ways.append((on["read"].click, handlers.bring_folder, "folder", "preview", "evaluate_folder"))
        ways.append((on["folder"].submit, handlers.bring_folder, "folder", "preview", None))
    for event, handler, inputs, outputs, name in ways:
        event(
            spread(handler, on), _places(on, inputs), _places(on, outputs), concurrency_limit=2,
            concurrency_id="bring", show_progress_on=on["preview"], **named(name),
        ).success(**planned, api_visibility="private")  # fmt: skip


def _wire_job(handlers: EvaluateHandlers, on: Widgets) -> None:
    buttons = "status run go timer stop discard curves"
    enlisted = on["go"].click(
        spread(handlers.enlist, on), None, _places(on, f"{buttons} outcome"), queue=False, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    evaluating = enlisted.success(
        spread(handlers.evaluate, on), _asked(on),
        _places(on, f"{buttons} outcome protocol command group by_method {LOOKED}") + [on[name] for name in FILES],
        concurrency_id="train", concurrency_limit=1, show_progress="hidden", api_name="evaluate",
    )  # fmt: skip
    on["timer"].tick(
        spread(handlers.wait, on), None, on["status"], queue=False, show_progress="hidden", api_visibility="private"
    )
    on["stop"].click(
        spread(handlers.stop, on), None, on["stop"], queue=False, show_progress="hidden", api_name="evaluate_stop"
    )
    on["discard"].click(
        spread(handlers.discard, on), None, _places(on, buttons), cancels=[evaluating], queue=False,
        show_progress="hidden", api_name="evaluate_discard",
    )  # fmt: skip


def _wire_results(handlers: EvaluateHandlers, on: Widgets) -> None:
    for name in ("group", "metric", "by_method", "whose"):
        on[name].input(
            spread(handlers.look_at, on), _places(on, "group metric by_method whose"), _places(on, f"curves {LOOKED}"),
            show_progress="hidden", trigger_mode="always_last", concurrency_limit=4, concurrency_id="look",
            **named("evaluate_look" if name == "group" else None),
        )  # fmt: skip
    for name, handler in (("best", handlers.open_best), ("worst", handlers.open_worst)):
        on[name].select(
            spread(handler, on), None, _places(on, f"tabs picked {COMPARED}"), **named(None), show_progress="hidden"
        ).success(lambda path: path, on["picked"], on["photo"], api_visibility="private", show_progress="hidden")
