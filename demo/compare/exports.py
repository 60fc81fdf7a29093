"""Files of the Compare tab to download: figures, raw maps, animations."""

from __future__ import annotations

from pathlib import Path

from bsoftmax import METHODS, SOURCES
from bsoftmax.cams.effects import Distortion, distort
from bsoftmax.cams.sweep import before_after, write_gif
from bsoftmax.cams.view import Tick
from bsoftmax.images.export import save_figure, save_maps
from bsoftmax.images.figures import Panel, Row, figure
from bsoftmax.utils.text import quoted

from ..components.files import write_to_cache
from ..language.catalogue import DEFAULT
from ..language.visitor import speaking
from ..server.session import SHOWN_SIDE, Analysis
from .classes import readable
from .present import Presented, present

FILES = {
    "figure.png": "Figure, PNG", "figure.pdf": "Figure, PDF", "maps.npz": "Raw maps, NPZ", "code.py": "Code, Python",
}  # fmt: skip
CODE = """from bsoftmax import View, class_map, open_model
from bsoftmax.images import read_rgb

model = open_model({model!r})
view = View(model, model.preprocess(read_rgb("photo.jpg", {side})))  # the only run of the trunk
k = model.class_number({name!r})
maps = {{  # signed, unscaled, each [P, Q]; True: with the positive clamp
    (source, clamp): class_map(view.evidence(source, k), {method!r}, clamp)[0]
    for source in {sources!r}
    for clamp in (False, True)
}}
"""


def comparison(analysis: Analysis, k: int, method: str, file: str, made: Presented | None = None) -> str:
    """The comparison, `made` before or now, as a figure or as raw signed maps with their protocol.

    Raises ValueError for another kind.
    """
    if file not in FILES:
        raise ValueError(f"There is no file {quoted(file)}; choose one of {', '.join(FILES)}.")
    name = f"{_stem(analysis, k, method)}-{file}"
    if file == "code.py":
        return write_to_cache(name, lambda path: path.write_text(_code(analysis, k, method), encoding="utf-8"))
    with speaking(DEFAULT):  # the fonts of figures may lack other letters
        made = made or present(analysis, k, method, live=False)
    write = _maps if file == "maps.npz" else _figure
    return write_to_cache(name, lambda path: write(path, analysis, made))


def _stem(analysis: Analysis, k: int, method: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in analysis.model.classes[k])
    return f"{name[:40]}-{method.replace('+', 'p')}"


def _maps(path: Path, analysis: Analysis, made: Presented) -> None:
    maps = {f"{c['source']}|{kind}": made.maps[c[kind]] for c in made.info["columns"] for kind in ("raw", "clamped")}
    protocol = {key: made.info[key] for key in ("class", "class_index", "method", "model", "image_size")}
    save_maps(path, maps, {**protocol, "layer": analysis.model.spec.layer, "clamp": "both, named in the keys"})


def _code(analysis: Analysis, k: int, method: str) -> str:
    """The same maps in Python; a visitor's own model is a file that they have."""
    model = analysis.model_name if analysis.public else f"{analysis.title}.safetensors"
    name, sources = analysis.model.classes[k], tuple(analysis.sources)
    return CODE.format(model=model, side=SHOWN_SIDE, name=name, method=method, sources=sources)


def _figure(path: Path, analysis: Analysis, made: Presented) -> None:
    info, columns = made.info, made.info["columns"]
    panels = [
        Panel(c["title"], c["score_text"], made.maps[c["clamped" if c["clamp_default"] else "raw"]]) for c in columns
    ]
    clamped = [SOURCES[c["source"]].title.lower() for c in columns if c["clamp_default"]]
    caption = (
        f"{info['method_label']} of class {info['class']!r}, {info['model']}, layer {analysis.model.spec.layer}. "
        f"Positive clamp: {', '.join(clamped) or 'none'}. Bicubic, ReLU, then min-max per map."
    )
    save_figure(figure([Row(analysis.image, info["class"], tuple(panels))], caption=caption), path)


def distorted(
    analysis: Analysis, k: int, method: str, distortion: Distortion, kind: str, tick: Tick | None = None
) -> str:
    """A distortion as a before/after figure ("figure") or as a GIF of its sweep ("sweep")."""
    stem, label = f"{_stem(analysis, k, method)}-distorted", readable(analysis.model.classes[k])
    with analysis.guard(method):
        if kind == "sweep":
            return write_to_cache(
                f"{stem}.gif", lambda path: write_gif(path, analysis.image, analysis.view, k, method, distortion, tick)
            )
        outcome = distort(analysis.view, k, method, distortion)
    made = before_after(analysis.image, label, METHODS[method].label, outcome, distortion)
    return write_to_cache(f"{stem}.png", lambda path: save_figure(made, path))
