"""Event handlers of the Compare tab: from what a visitor chose to what the browser draws."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.view import Tick
from bsoftmax.models import zoo
from bsoftmax.utils.language import gettext as _

from ..components.canvas import MapData, in_text, pack_maps
from ..components.files import bytes_to_cache, used
from ..components.inputs import error_notices
from ..distort import panel
from ..server.schemas import Chosen
from ..server.session import Analysis, Session
from ..server.user_models import is_user_model
from . import examples, exports
from .classes import classes_file, first_classes, ranked_classes
from .present import Presented, method_choices, predicted, present

T = TypeVar("T")


def to_browser(analysis: Analysis, shown: Presented) -> MapData:
    """What the browser draws from; the photograph and F are files in Gradio's cache under a hash of their content."""
    maps, scales = pack_maps(shown.maps)
    info = {**shown.info, "scales": scales, "example": examples.names().get(analysis.fingerprint)}
    info |= {"classes": classes_file(analysis.model.classes), "top": first_classes(analysis)}
    files = {"image": {"path": bytes_to_cache("image.jpeg", analysis.jpeg)}}
    if shown.features:
        files["features"] = {"path": bytes_to_cache("features.f16", shown.features)}
    return MapData(info=info, maps=in_text(maps), rows=in_text(shown.rows or b"") or None, **files)


class Handlers:
    """Event handlers as methods over a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def analysis(self, photo: str | None, model: str) -> Analysis:
        """The photograph under the model. Raises ValueError when there is no photograph."""
        if not photo:
            raise ValueError("There is no photograph: upload one or choose an example.")
        used(photo)
        return self.session.analysis(photo, model)

    def explained(self, photo: str | None, model: str, chosen: Chosen) -> tuple[Analysis, int]:
        """The photograph under the model, and the number of the chosen class. Raises ValueError for an unknown one."""
        analysis = self.analysis(photo, model)
        return analysis, analysis.model.class_number(chosen)

    @error_notices
    def analyse(
        self, photo: str | None, model: str, method: str | None = None, link: dict[str, Any] | None = None
    ) -> tuple[Any, Any, Any]:
        """Maps of a photograph's predicted class, that class, the method."""
        if not photo:
            return gr.skip(), gr.skip(), gr.skip()
        return self._drawn(*self._begun(photo, model, method, link))

    @error_notices
    def change_model(
        self, photo: str | None, model: str, method: str | None = None, link: dict[str, Any] | None = None
    ) -> tuple[Any, Any, Any]:
        """The same with the model's classes, in order of their scores, and methods in their menus."""
        if not photo:
            return gr.skip(), gr.skip(), gr.skip()
        return self._shown(*self._begun(photo, model, method, link))

    def _begun(
        self, photo: str, model: str, method: str | None, link: dict[str, Any] | None
    ) -> tuple[Analysis, int, str]:
        """A photograph's analysis with the class and the method to begin with."""
        analysis = self.analysis(photo, model)
        if link and link["key"] == analysis.key:  # the page has just been opened by a link, which names a class
            return analysis, link["class"], link["method"]
        if not analysis.allows(method) or cam_methods.takes_seconds(analysis.model, method):
            method = cam_methods.default(analysis.model)
        return analysis, predicted(analysis), method

    @error_notices
    def explain(
        self, photo: str | None, model: str, chosen: Chosen, method: str, request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),
    ) -> MapData:  # fmt: skip
        """Maps of one class under one method, for every evidence source, with and without the positive clamp."""
        analysis, k = self.explained(photo, model, chosen)
        work = lambda tick: present(analysis, k, method, tick)  # noqa: E731
        return to_browser(analysis, self.computed(work, analysis.takes_seconds(method), request, progress))

    def computed(
        self, work: Callable[[Tick], T], slow: bool, request: gr.Request | None, progress: gr.Progress,
        what: str = "",
    ) -> T:  # fmt: skip
        """What `work(tick)` returns, in the lane of slow computations or among the quick ones; `what` is counted."""
        what = what or _("passes")
        if not slow:
            with self.session.quick:
                return work(ticker(progress, what))
        owner = request.session_hash if request else None
        ahead_of = _("{ahead} slow computations ahead of yours")
        waiting = lambda ahead: progress((0, 1), desc=ahead_of.format(ahead=ahead))  # noqa: E731
        return self.session.slow.run(owner, work, ticker(progress, what), waiting)

    def stop_slow(self, request: gr.Request) -> None:
        """Stops the slow computation of this session; what was computed is kept."""
        self.session.slow.stop(request.session_hash)

    def stoppable(self, photo: str | None, model: str, method: str) -> gr.Button:
        """The Stop button, while a slow method is computed."""
        try:
            return gr.Button(visible=bool(photo) and self.session.analysis(photo, model).takes_seconds(method))
        except ValueError:  # the other handler of the same event says why
            return gr.Button(visible=False)

    @error_notices
    def export(self, photo: str | None, model: str, chosen: Chosen, method: str, file: str) -> str:
        """Writes the comparison as figure.png, figure.pdf or maps.npz and returns its path."""
        return exports.comparison(*self.explained(photo, model, chosen), method, file)

    @error_notices
    def stand(self, photo: str | None, model: str, chosen: Chosen, method: str) -> str:
        """How far the softmax head is from centred, and which shift this photograph's map survives."""
        analysis, k = self.explained(photo, model, chosen)
        with analysis.lock:
            return panel.gauge_report(analysis, k, method)

    @error_notices
    def distorted(
        self, kind: str, event: gr.EventData, request: gr.Request | None = None, progress: gr.Progress = gr.Progress()
    ) -> str:
        """Writes the distortion the page shows as a before/after figure or as a GIF of its sweep."""
        analysis, k, method, distortion = panel.parse(event._data, self.session)
        work = lambda tick: exports.distorted(analysis, k, method, distortion, kind, tick)  # noqa: E731
        slow = kind == "sweep" or analysis.takes_seconds(method)
        return self.computed(work, slow, request, progress, _("frames"))

    @error_notices
    def choose_example(self, event: gr.SelectData) -> str:
        """The path of the example that was clicked."""
        return examples.path_of(examples.available()[int(event.index)].name)

    @error_notices
    def open_link(self, request: gr.Request) -> tuple[Any, ...]:
        """Restores example, model, class and method from the address of the page; skips what is not in it.

        What the address names and is not here is never repeated: anybody can write an address.
        """
        wanted, models = dict(request.query_params), self.session.model_names()
        if not wanted.keys() & {"model", "method", "class", "example"}:
            return gr.skip(), gr.Dropdown(choices=models), *(gr.skip(),) * 5  # others may have been shared meanwhile
        photo = examples.path_of(wanted.get("example"))
        model = wanted.get("model", zoo.DEFAULT)
        if is_user_model(model):
            raise ValueError("A link cannot open a model of one's own: open its checkpoint under Model.")
        if model not in models:
            raise ValueError("There is no model of this link's name: choose one under Model.")
        analysis = self.session.analysis(photo, model)
        k = self._linked_class(analysis, wanted["class"]) if "class" in wanted else predicted(analysis)
        method = wanted.get("method") if analysis.allows(wanted.get("method")) else cam_methods.default(analysis.model)
        link = {"key": analysis.key, "class": k, "method": method}
        return photo, gr.Dropdown(models, value=model), model, *self._shown(analysis, k, method), link

    @staticmethod
    def _linked_class(analysis: Analysis, name: str) -> int:
        try:
            return analysis.model.class_number(name)
        except ValueError:
            raise ValueError("The model has no class of this link's name: choose one under Class.") from None

    def _drawn(self, analysis: Analysis, k: int, method: str) -> tuple[MapData, int, str]:
        with self.session.quick:
            return to_browser(analysis, present(analysis, k, method)), k, method

    def _shown(self, analysis: Analysis, k: int, method: str) -> tuple[MapData, gr.Dropdown, gr.Dropdown]:
        return (
            self._drawn(analysis, k, method)[0],
            gr.Dropdown(choices=ranked_classes(analysis), value=k),
            gr.Dropdown(choices=method_choices(analysis.model), value=method),
        )


def ticker(progress: gr.Progress, what: str) -> Tick:
    """A callback that moves the page's progress bar, and says how long it will still take; `what` is counted."""
    begun = (0.0, 0, 0)  # when, and how many of how many were done: what was stopped goes on

    def tick(done: int, total: int) -> None:
        nonlocal begun
        now = time.monotonic()
        if total != begun[2]:
            begun = (now, done, total)
        rate = (done - begun[1]) / max(now - begun[0], 1e-9)
        progress((done, total), desc=f"{what}, {_left((total - done) / rate)}" if rate else what)

    return tick


def _left(seconds: float) -> str:
    if seconds < 90:
        return _("about {seconds} s left").format(seconds=round(seconds))
    return _("about {minutes} min left").format(minutes=round(seconds / 60))
