"""The Evaluate tab: images in; the verdict in words, small tables, a plot, and every number out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from bsoftmax import METHODS
from bsoftmax.data.limits import Limits, describe
from bsoftmax.reports.plots import FIGURES

from ..compare.page import Page
from ..components.inputs import Menu, endpoint, named_outputs
from ..components.report import Report
from ..workspace import layout
from ..workspace.layout import COMPARE, Widgets, select
from .gauge import QUESTIONS
from .handlers import EvaluateHandlers
from .plan import EXPLAINED, MEASURES, EvalSettings
from .results import CURVES, FILES, GROUPS

INTRO = (
    "Are the sigmoid maps better on your images? The model chosen under **Compare** is measured on images you bring, "
    f"every method, source and clamp, with intervals. {layout.REMOVED}"
)
PLACES = (
    "A folder for each class. For localisation add `boxes.csv` (path, x0, y0, x1, y1), a COCO `.json` or a folder "
    "`masks` beside them."
)
SETTINGS = ("measures", "limit", "methods", "split", "explain", "rules", "seed", "question")
VIEW = f"measured metric whose best worst {' '.join(CURVES)}"
RULES = {"standard": "The WSOL benchmark's", "official": "The paper's code"}


def build(page: Page) -> None:
    """Lays the tab out and wires it."""
    handlers = EvaluateHandlers(page.session, page.workspaces, page.limits)
    on = layout.compare_widgets(page)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_id="evaluate-controls"):
            gr.Markdown(INTRO)
            on |= _sources(page.limits)
            on |= _settings()
            on["go"] = gr.Button("Evaluate", variant="primary", interactive=False, elem_id="evaluate-go")
        with gr.Column(scale=5, min_width=320, elem_id="evaluate-stage"):
            on |= _running()
            on |= _outcome()
            on |= _gauge_outcome()
            on |= layout.preview_area(
                "Your images will be described here before they are measured.", "images to measure",
                "evaluate-preview", "evaluate-samples",
            )  # fmt: skip
            layout.guide("evaluate", FIGURES["forest"])
    _wire_data(handlers, on, page.tab)
    gauge = "gauge_outcome gauge_words gauge_figure gauge_files"
    results = f"{gauge} summary forest protocol command group by_method {VIEW} {' '.join(FILES)}"
    names = ("evaluate", "evaluate_stop", "evaluate_discard")
    layout.wire_job(on, handlers, handlers.evaluate, _settings_of(on), results, names)
    _wire_results(handlers, on)


def _sources(limits: Limits) -> Widgets:
    on: Widgets = {
        "trained": gr.Button("Use what was trained on", elem_id="evaluate-trained"),
        "sample": gr.Button("Use the sample set", elem_id="evaluate-sample"),
    }
    with gr.Tabs(elem_id="evaluate-sources"):
        on |= layout.zip_tab("evaluate-zip")
        info = "Class folders, or a benchmark's archive as it unpacks."
        on |= layout.folder_tab(info, "evaluate-folder", "evaluate-read")
    layout.accepted((PLACES, *describe(limits)), False, "evaluate-limits")
    return on


def _settings() -> Widgets:
    default = EvalSettings()
    on: Widgets = {
        "question": gr.Radio(
            [(words, key) for key, words in QUESTIONS.items()], value="evaluate", label="Question",
            elem_id="evaluate-question",
        ),
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
        on["methods"] = Menu(
            [(m.label, key) for key, m in METHODS.items()], value=[], multiselect=True, label="Methods",
            info="None chosen: the CAM methods that are quick.", elem_id="evaluate-methods",
        )  # fmt: skip
        on["split"] = Menu([], value=None, label="Part of the images", elem_id="evaluate-split")
        on["explain"] = Menu(
            [(words, key) for key, words in EXPLAINED.items()], value=default.explain, label="Class explained",
            elem_id="evaluate-explain",
        )  # fmt: skip
        on["rules"] = Menu(
            [(words, key) for key, words in RULES.items()], value=default.protocol, label="Protocol",
            elem_id="evaluate-rules",
        )  # fmt: skip
        on["seed"] = gr.Number(default.seed, label="Seed", minimum=0, precision=0, elem_id="evaluate-seed")
    return on


def _running() -> Widgets:
    with gr.Column(visible=False, elem_id="evaluate-run") as run:
        return {"run": run, **layout.status_area("evaluation", "evaluate-status", "evaluate")}


def _outcome() -> Widgets:
    with gr.Column(visible=False, elem_id="evaluate-outcome") as outcome:
        on: Widgets = {"outcome": outcome, "picked": gr.State(None)}
        on["summary"] = Report(label="verdict", elem_id="evaluate-verdict")
        on["forest"] = gr.Image(
            label="What differs", show_label=False, alt_text=FIGURES["forest"], type="filepath", interactive=False,
            visible=False, buttons=["download", "fullscreen"], elem_id="evaluate-forest", elem_classes="forest",
        )  # fmt: skip
        with gr.Accordion("Every metric, with its intervals, curves and images", open=False, elem_id="evaluate-full"):
            with gr.Row(elem_id="evaluate-choice"):
                on["group"] = gr.Radio(list(GROUPS), label="Metrics", elem_id="evaluate-group", scale=3, min_width=300)
                on["metric"] = Menu([], label="Metric", elem_id="evaluate-metric", scale=2, min_width=200)
            on["measured"] = Report(label="table", elem_id="evaluate-table")
            on |= _details()
        with gr.Row():
            for name, words in FILES.items():
                on[name] = gr.DownloadButton(words, size="sm", min_width=90, elem_id=f"evaluate-{Path(name).stem}"
                                             f"-{Path(name).suffix[1:]}")  # fmt: skip
        on["command"] = layout.command_box("evaluate-command")
        with gr.Accordion("Protocol: how this was measured", open=False, elem_id="evaluate-protocol"):
            on["protocol"] = Report(label="protocol", elem_id="evaluate-how")
    return on


def _gauge_outcome() -> Widgets:
    with gr.Column(visible=False, elem_id="gauge-outcome") as outcome:
        on: Widgets = {"gauge_outcome": outcome, "gauge_words": Report(label="verdict", elem_id="gauge-verdict")}
        on["gauge_figure"] = gr.Image(
            label="Metrics of the maps against the size of the shift", show_label=False, type="filepath",
            alt_text="Metrics of softmax's, the branch's and the centred rows' maps against the size of the shift",
            interactive=False, buttons=["download", "fullscreen"], elem_id="gauge-figure",
        )  # fmt: skip
        on["gauge_files"] = gr.DownloadButton("All files: figure, numbers, protocol", size="sm", elem_id="gauge-files")
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
    on["best"] = layout.gallery("Got better: click one to compare", "evaluate-best")
    on["worst"] = layout.gallery("Got worse: click one to compare", "evaluate-worst")
    return on


def _settings_of(on: Widgets) -> list[Any]:
    return [on["model"], *(on[name] for name in SETTINGS)]


def _wire_data(handlers: EvaluateHandlers, on: Widgets, tab: gr.Tab) -> None:
    planned = {
        "fn": named_outputs(handlers.plan, on), "inputs": _settings_of(on),
        "outputs": select(on, "preview samples go split methods"), "show_progress": "hidden", "concurrency_limit": 2,
        "concurrency_id": "plan",
    }  # fmt: skip
    tab.select(**planned, trigger_mode="always_last", **endpoint("evaluate_plan"))
    for name in SETTINGS:
        on[name].input(**planned, trigger_mode="always_last", api_visibility="private")
    trained = (on["trained"].click, handlers.bring_trained, "photo method", f"preview {COMPARE}", None)
    layout.wire_sources(on, handlers, planned, "evaluate", [trained])


def _wire_results(handlers: EvaluateHandlers, on: Widgets) -> None:
    choices = select(on, "group metric by_method whose")
    for name in ("group", "metric", "by_method", "whose"):
        on[name].input(
            named_outputs(handlers.show_metric, on), choices, select(on, f"curves {VIEW}"),
            show_progress="hidden", trigger_mode="always_last", concurrency_limit=4, concurrency_id="look",
            **endpoint("evaluate_look" if name == "group" else None),
        )  # fmt: skip
    layout.wire_to_compare(on, on["best"].select, handlers.open_best)
    layout.wire_to_compare(on, on["worst"].select, handlers.open_worst)
