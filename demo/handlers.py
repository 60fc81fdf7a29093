"""What the page's events call: plain methods over a session, from what people chose to what the browser draws."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder

from bsoftmax import METHODS, cams, zoo
from bsoftmax.view import Tick

from . import comparison as cmp
from . import exports, lab
from .canvas import MapData, pack_maps
from .doors import sentences
from .own import is_own
from .session import Look, Session, fingerprint

EXAMPLES = ("cheetah1.jpg", "lion.jpg", "tower.jpg")


def to_browser(look: Look, made: cmp.Comparison) -> MapData:
    """One picture and one float16 file, both named by their content in gradio's cache."""
    cache = get_upload_folder()
    data, scales = pack_maps(made.maps)
    image = processing_utils.save_pil_to_cache(look.image, cache, format="jpeg")
    maps = processing_utils.save_bytes_to_cache(data, "maps.f16", cache)
    return MapData(image={"path": image}, maps={"path": maps}, info={**made.info, "scales": scales})


def presented(look: Look, k: int, method: str, tick: Tick | None = None) -> MapData:
    """The comparison and what the Distort panel needs: F (fetched once a picture, by its content's name), the rows."""
    value = to_browser(look, cmp.compare(look, k, method, tick))
    value.info |= {
        "distort": lab.describe(look, k, method),
        "photo_token": look.key,
        "model_name": look.model_name if look.public else None,  # an own model's name is a secret
        "example": _examples().get(look.fingerprint),
    }
    if value.info["distort"]["live"]:
        F, value.info["distort"]["feature_scale"] = lab.features_file(look)
        rows, value.info["distort"]["rows"] = lab.rows_file(look, k, method)
        cache = get_upload_folder()
        value.features = FileData(path=processing_utils.save_bytes_to_cache(F, "features.f16", cache))
        value.rows = FileData(path=processing_utils.save_bytes_to_cache(rows, "rows.f32", cache))
    return value


@cache
def _examples() -> dict[str, str]:
    return {fingerprint(Path(gr.get_image(name)).read_bytes()): name for name in EXAMPLES}


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
    def analyse(
        self, photo: str | None, model: str, method: str | None = None, link: dict[str, Any] | None = None
    ) -> tuple[Any, Any, Any]:
        """Looks at a photograph: maps of the predicted class, the classes in order of their scores, the methods."""
        if not photo:
            return gr.skip(), gr.skip(), gr.skip()
        look = self.look(photo, model)
        if link and link["key"] == look.key:  # the page has just been opened by a link, which names a class
            return self._shown(look, link["class"], link["method"])
        if method not in cmp.methods_of(look) or cams.takes_seconds(look.model, method):
            method = cams.default(look.model)
        return self._shown(look, cmp.ranked_classes(look)[0][1], method)

    @sentences
    def explain(
        self, photo: str | None, model: str, chosen: str | int, method: str, progress: gr.Progress = gr.Progress()
    ) -> MapData:
        """Maps of one class under one method, for every evidence source, with and without the positive clamp."""
        look = self.look(photo, model)
        return presented(look, look.model.class_number(chosen), method, ticker(progress))

    @sentences
    def classify(self, photo: str | None, model: str) -> dict[str, float]:
        """Softmax probabilities of a photograph, by class name."""
        look = self.look(photo, model)
        p = look.view.logits("softmax").softmax(1)[0].tolist()
        return dict(zip(look.model.classes, p))

    @sentences
    def export(self, photo: str | None, model: str, chosen: str | int, method: str, file: str) -> str:
        """Writes the comparison as figure.png, figure.pdf or maps.npz and returns its path."""
        look = self.look(photo, model)
        return exports.comparison(look, look.model.class_number(chosen), method, file)

    @sentences
    def stand(self, photo: str | None, model: str, chosen: str | int, method: str) -> str:
        """Says where the softmax head stands in its freedom, and what shift this picture's map survives."""
        look = self.look(photo, model)
        with look.lock:
            return lab.stand(look, look.model.class_number(chosen), method)

    @sentences
    def distorted(self, kind: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> str:
        """Writes the distortion the page shows as a before/after figure or as a GIF of its sweep."""
        look = self.session.recall(str(event._data.get("photo")))
        k, method, distortion = lab.parse(event._data, look)
        return exports.distorted(look, k, method, distortion, kind, ticker(progress, "frames"))

    @sentences
    def open_link(self, request: gr.Request) -> tuple[Any, ...]:
        """Restores example, model, class and method from the address of the page; skips what is not in it."""
        wanted = dict(request.query_params)
        if not wanted.keys() & {"model", "method", "class", "example"}:
            return (gr.skip(),) * 7
        name = wanted.get("example", EXAMPLES[0])
        photo = gr.get_image(name if name in EXAMPLES else EXAMPLES[0])
        photo = processing_utils.save_file_to_cache(photo, get_upload_folder())  # from where the page may have it
        if is_own(wanted.get("model", "")):
            raise ValueError("A link cannot open a model of one's own: open its checkpoint under Model.")
        look = self.session.look(photo, wanted.get("model", zoo.DEFAULT))
        classes, allowed = cmp.ranked_classes(look), cmp.methods_of(look)
        k = look.model.class_number(wanted["class"]) if "class" in wanted else classes[0][1]
        method = wanted.get("method") if wanted.get("method") in allowed else cams.default(look.model)
        link = {"key": look.key, "class": k, "method": method}
        return photo, look.model_name, look.model_name, *self._shown(look, k, method), link

    def _shown(self, look: Look, k: int, method: str) -> tuple[MapData, gr.Dropdown, gr.Dropdown]:
        methods = [(METHODS[key].label, key) for key in cmp.methods_of(look)]
        return (
            presented(look, k, method),
            gr.Dropdown(choices=cmp.ranked_classes(look), value=k),
            gr.Dropdown(choices=methods, value=method),
        )


def ticker(progress: gr.Progress, what: str = "masked passes") -> Tick:
    """What a slow job calls to move the page's progress bar."""
    return lambda done, total: progress((done, total), desc=what)
