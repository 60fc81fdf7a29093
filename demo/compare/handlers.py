"""What the page's events call: plain methods over a session, from what people chose to what the browser draws."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder

from bsoftmax import METHODS
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.view import Tick
from bsoftmax.models import zoo

from ..components.canvas import MapData, pack_maps
from ..components.inputs import sentences
from ..distort import panel
from ..server.session import Analysis, Session, fingerprint
from ..server.user_models import is_user_model
from . import exports
from .present import Presented, present, ranked_classes

EXAMPLES = ("cheetah1.jpg", "lion.jpg", "tower.jpg")


def to_browser(analysis: Analysis, shown: Presented) -> MapData:
    """A picture and the files the browser draws from, named by their content in gradio's cache: F once a picture."""
    cache = get_upload_folder()
    data, scales = pack_maps(shown.maps)
    image = processing_utils.save_pil_to_cache(analysis.image, cache, format="jpeg")
    maps = processing_utils.save_bytes_to_cache(data, "maps.f16", cache)
    info = {**shown.info, "scales": scales, "example": _examples().get(analysis.fingerprint)}
    files: dict[str, Any] = {"image": {"path": image}, "maps": {"path": maps}}
    for name, content in (("features.f16", shown.features), ("rows.f32", shown.rows)):
        if content is not None:
            files[name.split(".")[0]] = {"path": processing_utils.save_bytes_to_cache(content, name, cache)}
    return MapData(info=info, **files)


@cache
def _examples() -> dict[str, str]:
    return {fingerprint(Path(gr.get_image(name)).read_bytes()): name for name in EXAMPLES}


class Handlers:
    """What the tab's events call: plain methods over a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def analysis(self, photo: str | None, model: str) -> Analysis:
        """The current picture as the current model sees it. Raises ValueError when there is none."""
        if not photo:
            raise ValueError("There is no photograph: upload one or choose an example.")
        return self.session.analysis(photo, model)

    @sentences
    def analyse(
        self, photo: str | None, model: str, method: str | None = None, link: dict[str, Any] | None = None
    ) -> tuple[Any, Any, Any]:
        """Looks at a photograph: maps of the predicted class, the classes in order of their scores, the methods."""
        if not photo:
            return gr.skip(), gr.skip(), gr.skip()
        analysis = self.analysis(photo, model)
        if link and link["key"] == analysis.key:  # the page has just been opened by a link, which names a class
            return self._shown(analysis, link["class"], link["method"])
        if method not in analysis.methods or cam_methods.takes_seconds(analysis.model, method):
            method = cam_methods.default(analysis.model)
        return self._shown(analysis, ranked_classes(analysis)[0][1], method)

    @sentences
    def explain(
        self, photo: str | None, model: str, chosen: str | int, method: str, progress: gr.Progress = gr.Progress()
    ) -> MapData:
        """Maps of one class under one method, for every evidence source, with and without the positive clamp."""
        analysis = self.analysis(photo, model)
        k = analysis.model.class_number(chosen)
        return to_browser(analysis, present(analysis, k, method, ticker(progress)))

    @sentences
    def classify(self, photo: str | None, model: str) -> dict[str, float]:
        """Softmax probabilities of a photograph, by class name."""
        analysis = self.analysis(photo, model)
        p = analysis.view.logits("softmax").softmax(1)[0].tolist()
        return dict(zip(analysis.model.classes, p))

    @sentences
    def export(self, photo: str | None, model: str, chosen: str | int, method: str, file: str) -> str:
        """Writes the comparison as figure.png, figure.pdf or maps.npz and returns its path."""
        analysis = self.analysis(photo, model)
        return exports.comparison(analysis, analysis.model.class_number(chosen), method, file)

    @sentences
    def stand(self, photo: str | None, model: str, chosen: str | int, method: str) -> str:
        """Says where the softmax head stands in its freedom, and what shift this picture's map survives."""
        analysis = self.analysis(photo, model)
        with analysis.lock:
            return panel.stand(analysis, analysis.model.class_number(chosen), method)

    @sentences
    def distorted(self, kind: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> str:
        """Writes the distortion the page shows as a before/after figure or as a GIF of its sweep."""
        analysis = self.session.recall(str(event._data.get("photo")))
        k, method, distortion = panel.parse(event._data, analysis)
        return exports.distorted(analysis, k, method, distortion, kind, ticker(progress, "frames"))

    @sentences
    def open_link(self, request: gr.Request) -> tuple[Any, ...]:
        """Restores example, model, class and method from the address of the page; skips what is not in it."""
        wanted = dict(request.query_params)
        if not wanted.keys() & {"model", "method", "class", "example"}:
            return (gr.skip(),) * 7
        name = wanted.get("example", EXAMPLES[0])
        photo = gr.get_image(name if name in EXAMPLES else EXAMPLES[0])
        photo = processing_utils.save_file_to_cache(photo, get_upload_folder())  # from where the page may have it
        if is_user_model(wanted.get("model", "")):
            raise ValueError("A link cannot open a model of one's own: open its checkpoint under Model.")
        analysis = self.session.analysis(photo, wanted.get("model", zoo.DEFAULT))
        classes, allowed = ranked_classes(analysis), analysis.methods
        k = analysis.model.class_number(wanted["class"]) if "class" in wanted else classes[0][1]
        method = wanted.get("method") if wanted.get("method") in allowed else cam_methods.default(analysis.model)
        link = {"key": analysis.key, "class": k, "method": method}
        return photo, analysis.model_name, analysis.model_name, *self._shown(analysis, k, method), link

    def _shown(self, analysis: Analysis, k: int, method: str) -> tuple[MapData, gr.Dropdown, gr.Dropdown]:
        methods = [(METHODS[key].label, key) for key in analysis.methods]
        return (
            to_browser(analysis, present(analysis, k, method)),
            gr.Dropdown(choices=ranked_classes(analysis), value=k),
            gr.Dropdown(choices=methods, value=method),
        )


def ticker(progress: gr.Progress, what: str = "masked passes") -> Tick:
    """What a slow job calls to move the page's progress bar."""
    return lambda done, total: progress((done, total), desc=what)
