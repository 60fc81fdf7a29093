"""Components that draw in the browser; two of them class-activation maps over a photograph.

Python sends a photograph and signed float16 maps, once; scale, colours, box and read-out cost no request.
"""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import matplotlib
import numpy as np
from gradio.components.base import Component
from gradio.data_classes import FileData, GradioModel

STATIC = Path(__file__).resolve().parents[1] / "static"
COLOURS = ("turbo", "viridis", "inferno", "jet", "gray")
SIGNED_COLOURS = "RdBu_r"


class MapData(GradioModel):
    """A photograph, its maps and their description; for the Distort panel F (a file) and the rows of the heads.

    `maps`: base64 of little-endian float16 [P, Q], one behind another, each divided by its scale; `rows`: of float32.
    They are small, and a request for each would cost more than its bytes.
    """

    image: FileData
    maps: str
    info: dict
    features: FileData | None = None
    rows: str | None = None


def in_text(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def pack_maps(maps: Sequence[np.ndarray]) -> tuple[bytes, list[float]]:
    """Signed maps [P, Q] as little-endian float16, each divided by its largest size, and these scales.

    The browser restores `stored * scale`. A map with a value that is not finite stays so, and is shown as "no map".
    """
    packed, scales = [], []
    for S in maps:
        S = np.asarray(S, dtype=np.float32)
        if S.ndim != 2:
            raise ValueError(f"expected maps [P, Q], got shape {S.shape}")
        finite = np.isfinite(S)
        scales.append(float(np.abs(S, where=finite, out=np.zeros_like(S)).max(initial=0)) or 1.0)
        packed.append(np.where(finite, S / np.float32(scales[-1]), np.nan).astype("<f2").tobytes())
    return b"".join(packed), scales


@cache
def colour_tables() -> dict[str, str]:
    """Matplotlib's colour maps as the browser wants them: name -> base64 of 256 RGB triples."""
    names = (*COLOURS, SIGNED_COLOURS)
    return {name: in_text(_rgb_bytes(name)) for name in names}


def _rgb_bytes(name: str) -> bytes:
    rgba = matplotlib.colormaps[name].resampled(256)(np.arange(256), bytes=True)
    return rgba[:, :3].astype(np.uint8).tobytes()


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


class Scripted(gr.HTML):
    """A component drawn by scripts. No text of the value enters a template: the script sets it as text."""

    name = ""
    parts: tuple[str, ...] = ()  # NAME.html replaces <!-- NAME.html --> in the component's own; its CSS is added
    scripts: tuple[str, ...] = ()

    def __init__(self, value: GradioModel | None = None, **kwargs: Any):
        html = _static(f"{self.name}.html")
        for part in self.parts:
            html = html.replace(f"<!-- {part}.html -->", _static(f"{part}.html"))
        super().__init__(
            value,
            html_template=html,
            css_template="".join(_static(f"{part}.css") for part in (self.name, *self.parts)),
            js_on_load="".join(map(_static, self.scripts)),
            apply_default_css=False,
            **kwargs,
        )

    def preprocess(self, payload: Any) -> None:
        """Output only: whatever a browser sends is ignored."""

    def postprocess(self, value: GradioModel | None) -> GradioModel | None:
        """Pass the value on; gradio turns its files into addresses."""
        return value

    def api_info(self) -> dict[str, Any]:
        """Describe the value to the clients of the API, in gradio's own words for components with a data model."""
        return Component.api_info(self)

    def example_payload(self) -> None:
        """Nothing is taken as input."""

    def example_value(self) -> None:
        """Nothing is taken as input."""


class _MapCanvas(Scripted):
    """A component with colour tables."""

    data_model = MapData

    def __init__(self, value: MapData | None = None, **kwargs: Any):
        super().__init__(value, luts=colour_tables(), **kwargs)


class CompareCanvas(_MapCanvas):
    """Identical frames side by side, one for each source of evidence; under them the Distort panel and the view.

    With `server_functions=[redraw]`, `redraw(payload: dict) -> dict` answers for the heads that the browser cannot
    distort by itself. The events `figure` and `sweep` ask for a file and carry the same payload.
    """

    name = "compare/compare"
    parts = ("distort/panel",)
    scripts = (
        "components/words.js", "components/dom.js", "components/maps.js", "distort/distort.js", "components/draw.js",
        "components/view.js", "components/cursor.js", "components/scores.js", "components/legend.js",
        "components/link.js", "components/readout.js", "distort/chooser.js", "distort/player.js", "distort/panel.js",
        "compare/difference.js", "compare/paste.js", "compare/compare.js",
    )  # fmt: skip


class GridCanvas(_MapCanvas):
    """Thumbnails: a row for each method, a column for each source. `pick` fires with the method as `event.value`."""

    name = "methods/grid"
    scripts = (
        "components/words.js", "components/dom.js", "components/maps.js", "components/draw.js", "methods/grid.js",
    )  # fmt: skip
