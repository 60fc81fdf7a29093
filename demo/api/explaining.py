"""Endpoints on one photograph: what can be asked, its classes, its maps, distortions, files."""

from typing import Any

import gradio as gr
import torch
from gradio.data_classes import FileData

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams import effects
from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.effects import TAU, Distortion
from bsoftmax.images.export import save_maps
from bsoftmax.models import zoo

from ..compare import examples, exports
from ..compare.handlers import Handlers
from ..compare.present import overview, predicted, present
from ..compare.user_models import UserModelHandlers
from ..components.files import write_to_cache
from ..components.inputs import visitor
from ..language.catalogue import DEFAULT
from ..language.visitor import speaking
from ..server.schemas import Chosen
from ..server.session import Analysis, Session
from .parts import Tokens, by_mcp, described, endpoint, given, served

CLAMPS = {"paper": None, "on": True, "off": False}


class Explaining:
    """Endpoints that need a photograph at most."""

    NAMES = ("options", "classify", "explain", "distort", "overview", "stand", "export", "open_model")

    def __init__(self, session: Session, tokens: Tokens) -> None:
        self.session, self.tokens, self.handlers = session, tokens, Handlers(session)

    def _explained(self, photo: FileData, model: str, class_name: Chosen, method: str) -> tuple[Analysis, int, str]:
        """The photograph under the model, the class and the method. Raises ValueError for an unknown one."""
        analysis = self.handlers.analysis(given(photo, "photograph"), model)
        k = predicted(analysis) if class_name == "" else analysis.model.class_number(class_name)
        return analysis, k, cam_methods.find(method).key if method else cam_methods.default(analysis.model)

    def _computed(self, work: Any, slow: bool, request: gr.Request) -> Any:
        """What `work(tick)` returns. Callers of MCP share a session, and must not stop one another's."""
        return self.handlers.computed(work, slow, None if by_mcp(request) else request, gr.Progress())

    @endpoint
    def options(self, model: str = zoo.DEFAULT) -> dict:
        """What can be asked for: models, the classes and CAM methods of one of them, sources, photographs to try."""
        opened = self.session.model(model)
        allowed = [key for key in METHODS if cam_methods.unavailable(opened, key) is None]
        return {
            "models": self.session.model_names(), "classes": list(opened.classes), "trunk": opened.spec.trunk,
            "layer": opened.spec.layer, "branch": opened.sigmoid is not None,
            "methods": {key: METHODS[key].label for key in allowed},
            "slow": [key for key in allowed if cam_methods.takes_seconds(opened, key)],
            "sources": {key: source.subtitle for key, source in SOURCES.items()},
            "examples": [
                {"title": e.title, "photo": served(examples.path_of(e.name))} for e in examples.available()
            ],
        }  # fmt: skip

    @endpoint
    def classify(self, photo: FileData, model: str = zoo.DEFAULT, top: int = 5) -> dict:
        """The classes of a photograph with the answers of both heads, the softmax head's first choice first.

        `softmax` shares 1 among all classes; a `sigmoid` of 0.5 or more says that the branch finds the class.
        """
        analysis = self.handlers.analysis(given(photo, "photograph"), model)
        classes, found = analysis.model.classes, None
        answers = {"softmax": analysis.logits["softmax"].softmax(0)}
        if "sigmoid" in analysis.logits:
            answers["sigmoid"] = analysis.logits["sigmoid"].sigmoid()
            found = [classes[k] for k in torch.nonzero(answers["sigmoid"] >= 0.5).flatten().tolist()]
        first = answers["softmax"].argsort(descending=True)[: max(top, 1)].tolist()
        rows = [{"class": classes[k], "index": k, **{head: float(p[k]) for head, p in answers.items()}} for k in first]
        return {"model": model, "classes": rows, "found": found}

    @endpoint
    def explain(
        self, request: gr.Request, photo: FileData, model: str = zoo.DEFAULT, class_name: Chosen = "",
        method: str = "", clamp: str = "paper", threshold: float = TAU,
    ) -> tuple[dict, FileData]:  # fmt: skip
        """Where a class comes from in a photograph, for the softmax head, the sigmoid branch and two controls.

        Numbers of each signed map with its box in pixels of the photograph, and a figure of the maps side by side.
        """
        if clamp not in CLAMPS:
            raise ValueError(f"There is no clamp {clamp!r}: choose one of {', '.join(CLAMPS)}.")
        analysis, k, method = self._explained(photo, model, class_name, method)
        slow = analysis.takes_seconds(method)
        with speaking(DEFAULT):  # the fonts of figures may lack other letters
            made = self._computed(lambda tick: present(analysis, k, method, tick, live=False), slow, request)
        sources = [self._source(analysis, column, made.maps, k, clamp, threshold) for column in made.info["columns"]]
        answer = {
            "class": analysis.model.classes[k], "index": k, "model": model, "method": method,
            "size": list(analysis.image.size), "says": made.info["caption"], "sources": sources,
        }  # fmt: skip
        return answer, served(exports.comparison(analysis, k, method, "figure.png", made))

    @staticmethod
    def _source(
        analysis: Analysis, column: dict[str, Any], maps: Any, k: int, clamp: str, threshold: float
    ) -> dict[str, Any]:
        source = SOURCES[column["source"]]
        on = column["clamp_applies"] and (source.clamp if CLAMPS[clamp] is None else CLAMPS[clamp])
        logits = analysis.logits[source.branch]
        p = logits.softmax(0) if source.branch == "softmax" else logits.sigmoid()
        return {
            "source": column["source"], "title": column["title"], "clamped": on, "probability": float(p[k]),
            "score": float(source.score(logits[None], torch.tensor([k]))),
            **described(maps[column["clamped" if on else "raw"]], analysis.image.size, threshold),
        }  # fmt: skip

    @endpoint
    def distort(
        self, request: gr.Request, photo: FileData, model: str = zoo.DEFAULT, class_name: Chosen = "",
        method: str = "", channels: list[int] | None = None, delta: float = 0.0, flip: float = 0.0,
        uniform: float = 0.0, centre: bool = False, only: bool = False, both: bool = False, animate: bool = False,
    ) -> tuple[dict, FileData]:  # fmt: skip
        """Adds one vector to every class's row of the softmax head: probabilities stay, its map does not.

        What changed in probabilities, logit and maps (rank correlation, IoU of the boxes, share of changed signs), and
        a figure of before and after.
        """
        analysis, k, method = self._explained(photo, model, class_name, method)
        distortion = Distortion(tuple(channels or ()), delta, flip, uniform, centre, only, both)

        def work(tick: Any) -> tuple[dict[str, Any], str]:
            with analysis.guard(method):
                numbers = effects.distort(analysis.view, k, method, distortion).numbers
            return numbers, exports.distorted(analysis, k, method, distortion, "sweep" if animate else "figure", tick)

        numbers, path = self._computed(work, animate or analysis.takes_seconds(method), request)
        said = {"class": analysis.model.classes[k], "index": k, "model": model, "method": method}
        return {**said, "equation": distortion.equation(), **numbers}, served(path)

    @endpoint
    def overview(
        self, request: gr.Request, photo: FileData, model: str = zoo.DEFAULT, class_name: Chosen = "",
        slow: bool = False, more: bool = False,
    ) -> tuple[dict, FileData]:  # fmt: skip
        """One class under every CAM method and source: numbers of the maps, and the signed maps themselves (.npz)."""
        analysis, k, _ = self._explained(photo, model, class_name, "")
        asked = [method for method in analysis.methods if (more if METHODS[method].more else slow)]
        long = any(map(analysis.takes_seconds, asked))
        made = self._computed(lambda tick: overview(analysis, k, slow, tick, more), long, request)
        rows, maps = [], {}
        for row in made.info["rows"]:
            cells = {c["source"]: made.maps[c["map"]] for c in row["cells"] if c["map"] is not None}
            maps |= {f"{row['method']}|{source}": S for source, S in cells.items()}
            numbers = {source: described(S, analysis.image.size, TAU) for source, S in cells.items()}
            rows.append({"method": row["method"], "label": row["label"], "note": row["note"], "sources": numbers})
        said = {"class": analysis.model.classes[k], "index": k, "model": model}
        path = write_to_cache("methods.npz", lambda path: save_maps(path, maps, said))
        return {**said, "methods": rows}, served(path)

    @endpoint
    def stand(self, photo: FileData, model: str = zoo.DEFAULT, class_name: Chosen = "", method: str = "") -> dict:
        """How far each head is from centred rows, and the shifts at which this map's box loses half its overlap.

        `share` is the norm of the class-mean row over a row's own: 0 for centred rows.
        """
        analysis, k, method = self._explained(photo, model, class_name, method)
        method = cam_methods.quick_to_follow(analysis.model, method)
        heads = {
            branch: effects.gauge(analysis.model.classifier(branch)) for branch in effects.branches(analysis.model)
        }
        with analysis.lock:
            held = effects.tolerance(analysis.view, k, method)
        return {
            "class": analysis.model.classes[k], "index": k, "method": method, "shift": held,
            "heads": {head: {key: g[key] for key in ("mean_norm", "row_norm", "share")} for head, g in heads.items()},
        }  # fmt: skip

    @endpoint
    def export(
        self, request: gr.Request, photo: FileData, model: str = zoo.DEFAULT, class_name: Chosen = "",
        method: str = "", file: str = "maps.npz",
    ) -> FileData:  # fmt: skip
        """The comparison as a file: a figure, raw signed maps with their protocol, or the code that makes them."""
        analysis, k, method = self._explained(photo, model, class_name, method)
        slow = analysis.takes_seconds(method)
        return served(self._computed(lambda tick: exports.comparison(analysis, k, method, file), slow, request))

    @endpoint
    def open_model(self, request: gr.Request, checkpoint: FileData) -> dict:
        """Opens a checkpoint for whoever has the token that is returned, which other calls take as `model`."""
        owner = self.tokens.new("opened", request) if by_mcp(request) else visitor(request)
        opened = UserModelHandlers(self.session).add(owner, "opened", given(checkpoint, "checkpoint"))
        return {
            "model": opened.token, "classes": list(opened.model.classes), "trunk": opened.model.spec.trunk,
            "branch": opened.model.sigmoid is not None,
        }  # fmt: skip

    @endpoint
    def stop_slow(self, request: gr.Request) -> dict:
        """Stops this session's slow computation; what was computed is kept."""
        self.handlers.stop_slow(request)
        return {"stopped": True}
