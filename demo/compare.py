"""The Compare tab: one photograph, two identical frames."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from bsoftmax import METHODS, SOURCES, zoo
from bsoftmax.figure import Panel, Row, figure, save_figure, save_maps
from bsoftmax.view import Tick

from . import comparison as cmp
from .canvas import CompareCanvas, MapData, pack_maps
from .doors import Photo, sentences
from .session import Look, Session

EXAMPLES = ("cheetah1.jpg", "lion.jpg", "tower.jpg")
FILES = {"figure.png": "Figure, PNG", "figure.pdf": "Figure, PDF", "maps.npz": "Raw maps, NPZ"}


def default_method(look: Look) -> str:
    """CAM where the head allows it, else Grad-CAM."""
    return next(key for key in ("cam", "gradcam") if key in cmp.methods_of(look))


def to_browser(look: Look, made: cmp.Comparison) -> MapData:
    """One picture and one float16 file, both named by their content in gradio's cache."""
    cache = get_upload_folder()
    data, scales = pack_maps(made.maps)
    image = processing_utils.save_pil_to_cache(look.image, cache, format="jpeg")
    maps = processing_utils.save_bytes_to_cache(data, "maps.f16", cache)
    return MapData(image={"path": image}, maps={"path": maps}, info={**made.info, "scales": scales})


class Handlers:
    """What the tab's events call: plain methods over a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def look(self, photo: str | None, model: str) -> Look:
        """The current picture as the current model sees it. Raises ValueError when there is none."""
        if not photo:
            raise ValueError("There is no photograph: upload one or choose an example.")
        return self.session.look(photo, model)

    @sentences
    def analyse(self, photo: str | None, model: str, method: str | None = None) -> tuple[Any, Any, Any]:
        """Looks at a photograph: maps of the predicted class, the classes in order of their scores, the methods."""
        if not photo:
            return gr.skip(), gr.skip(), gr.skip()
        look = self.look(photo, model)
        allowed = cmp.methods_of(look)
        method = method if method in allowed and not METHODS[method].slow else default_method(look)
        classes = cmp.ranked_classes(look)
        data = to_browser(look, cmp.compare(look, classes[0][1], method))
        return (
            data,
            gr.Dropdown(choices=classes, value=classes[0][1]),
            gr.Dropdown(choices=[(METHODS[key].label, key) for key in allowed], value=method),
        )

    @sentences
    def explain(
        self, photo: str | None, model: str, chosen: str | int, method: str, progress: gr.Progress = gr.Progress()
    ) -> MapData:
        """Maps of one class under one method, for every evidence source, with and without the positive clamp."""
        look = self.look(photo, model)
        return to_browser(look, cmp.compare(look, look.model.class_number(chosen), method, ticker(progress)))

    @sentences
    def classify(self, photo: str | None, model: str) -> dict[str, float]:
        """Softmax probabilities of a photograph, by class name."""
        look = self.look(photo, model)
        p = look.view.logits("softmax").softmax(1)[0].tolist()
        return dict(zip(look.model.classes, p))

    @sentences
    def export(self, photo: str | None, model: str, chosen: str | int, method: str, file: str) -> str:
        """Writes the comparison as figure.png, figure.pdf or maps.npz and returns its path."""
        if file not in FILES:
            raise ValueError(f"There is no file {file!r}; choose one of {', '.join(FILES)}.")
        look = self.look(photo, model)
        made = cmp.compare(look, look.model.class_number(chosen), method)
        folder = Path(tempfile.mkdtemp(dir=_made(get_upload_folder())))
        return str(write_file(folder / f"{made.info['class'].replace(' ', '_')}-{method}-{file}", look, made))


def _made(folder: str) -> Path:
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


def ticker(progress: gr.Progress) -> Tick:
    """What a slow method calls to move the page's progress bar."""
    return lambda done, total: progress((done, total), desc="masked passes", unit="maps")


def write_file(path: Path, look: Look, made: cmp.Comparison) -> Path:
    """The comparison as a figure (.png, .pdf) or as raw signed maps with their protocol (.npz)."""
    columns = made.info["columns"]
    if path.suffix == ".npz":
        maps = {f"{c['source']}|{kind}": made.maps[c[kind]] for c in columns for kind in ("raw", "clamped")}
        protocol = {key: made.info[key] for key in ("class", "class_index", "method", "model", "image_size")}
        return save_maps(path, maps, {**protocol, "layer": look.model.spec.layer, "clamp": "both, named in the keys"})
    panels = tuple(
        Panel(c["title"], c["score_text"], made.maps[c["clamped" if c["clamp_default"] else "raw"]]) for c in columns
    )
    return save_figure(figure([Row(look.image, made.info["class"], panels)], caption=_protocol(made, look)), path)


def _protocol(made: cmp.Comparison, look: Look) -> str:
    clamped = [SOURCES[c["source"]].title.lower() for c in made.info["columns"] if c["clamp_default"]]
    info, layer = made.info, look.model.spec.layer
    return (
        f"{info['method_label']} of class {info['class']!r}, {info['model']}, layer {layer}. "
        f"Positive clamp: {', '.join(clamped) or 'none'}. Bicubic, ReLU, then min-max per map."
    )


@dataclass(frozen=True)
class Controls:
    """The widgets other tabs read: what is being looked at."""

    photo: Photo
    model: gr.Dropdown
    chosen: gr.Dropdown
    method: gr.Dropdown
    canvas: CompareCanvas


def build(session: Session) -> Controls:
    """Lays out the tab, wires it, and fills it with the first example, so that the page opens on a comparison."""
    handlers = Handlers(session)
    first = gr.get_image(EXAMPLES[0])
    look = session.look(first)
    classes, method = cmp.ranked_classes(look), default_method(look)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=260, elem_id="controls"):
            photo = Photo(
                first, type="filepath", label="Photograph", sources=["upload", "clipboard", "webcam"], elem_id="photo",
                height=220, buttons=[],
            )  # fmt: skip
            gr.Examples([[gr.get_image(name)] for name in EXAMPLES], [photo], label="Examples", elem_id="examples")
            chosen = gr.Dropdown(
                classes, value=classes[0][1], label="Class to explain", allow_custom_value=True, elem_id="class"
            )
            methods = [(METHODS[key].label, key) for key in cmp.methods_of(look)]
            how = gr.Dropdown(methods, value=method, label="Method", elem_id="method")
            with gr.Accordion("Model", open=False):
                model = gr.Dropdown(session.model_names(), value=zoo.DEFAULT, label="Model", elem_id="model")
            with gr.Accordion("Download", open=False):
                buttons = {
                    f: gr.Button(text, size="sm", elem_id=f"get-{Path(f).suffix[1:]}") for f, text in FILES.items()
                }
                fetcher = gr.DownloadButton("file", elem_id="fetcher", elem_classes="fetcher")
        with gr.Column(scale=7, min_width=320, elem_id="stage"):
            shown = to_browser(look, cmp.compare(look, classes[0][1], method))
            canvas = CompareCanvas(shown, label="comparison", elem_id="compare")

    seen = [photo, model]
    for event, name in ((photo.change, "compare"), (model.input, None)):
        event(
            handlers.analyse, [*seen, how], [canvas, chosen, how], api_name=name or "compare_model",
            api_visibility="public" if name else "private", show_progress="hidden", trigger_mode="always_last",
            concurrency_limit=4,
        )  # fmt: skip
    for event, name in ((chosen.input, "explain"), (how.input, None)):
        event(
            handlers.explain, [*seen, chosen, how], canvas, api_name=name or "explain_method", concurrency_limit=4,
            api_visibility="public" if name else "private", trigger_mode="always_last",
            show_progress="minimal",
        )  # fmt: skip
    for file, button in buttons.items():
        button.click(
            handlers.export, [*seen, chosen, how, gr.State(file)], fetcher, api_name=file.replace(".", "_"),
            concurrency_limit=2, show_progress="hidden",
        ).success(None, js="() => setTimeout(() => document.querySelector('#fetcher').click(), 50)")  # fmt: skip
    ask, answer = gr.Button(visible=False), gr.Label(visible=False)  # an endpoint for programs: no one presses it
    ask.click(handlers.classify, seen, answer, api_name="classify")
    return Controls(photo, model, chosen, how, canvas)
