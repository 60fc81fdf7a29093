"""A distortion as a figure (before and after) and as an animated GIF."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from ..images import render
from ..images.figures import Panel, Row, figure
from ..utils.files import atomic_open
from .effects import Distortion, Outcome, distort
from .sources import SOURCES
from .view import View

SIDE = 320  # pixels of a frame's panels
STRIP = 44  # pixels of text under them
FRAMES = 24
MILLISECONDS = 80


def before_after(image: Image.Image, label: str, method: str, outcome: Outcome, distortion: Distortion) -> Figure:
    """Softmax and sigmoid maps before and after a distortion, with its equation in the caption."""
    rows = []
    for when, maps in (("before", outcome.before), ("after", outcome.after)):
        panels = [
            Panel(source.title, _note(outcome, key) if when == "after" else "", maps[key, source.clamp].cpu().numpy())
            for key, source in SOURCES.items()
            if not source.invariant and (key, source.clamp) in maps
        ]
        rows.append(Row(image, f"{when}: {label}", tuple(panels)))
    n = outcome.numbers
    top = "top-5 unchanged" if n["top5_unchanged"] else "top-5 changed"
    caption = f"{method} of {label}. {distortion.equation()}. max |dp| = {n['max_dp']:.1e}, {top}."
    return figure(rows, caption=caption)


def _note(outcome: Outcome, source: str) -> str:
    change = outcome.numbers["maps"][source]
    return f"rank corr. {change['spearman']:.2f}, box IoU {change['box_iou']:.2f}"


def scaled_by(distortion: Distortion, t: float) -> Distortion:
    """A distortion with its values multiplied by t."""
    scaled = {name: getattr(distortion, name) * t for name in ("delta", "flip", "uniform")}
    return dataclasses.replace(distortion, **scaled, centre=distortion.centre and t > 0)


def write_gif(
    path: str | Path, image: Image.Image, view: View, k: int, method: str, distortion: Distortion,
    tick: Callable[[int, int], None] | None = None,
) -> Path:  # fmt: skip
    """Writes an animated GIF of a distortion from 0 to its values and back, with measures under the maps.

    `tick(done, total)`: progress callback. Raises ValueError as `effects.distort` does, or for an extension other than
    .gif.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"Expected a file name that ends in .gif, got {path.name!r}.")
    shares = np.sin(np.linspace(0, np.pi, FRAMES)) ** 2
    out = []
    for n, t in enumerate(shares[: FRAMES // 2]):
        part = scaled_by(distortion, float(t))
        out.append(_frame(image, distort(view, k, method, part), part))
        if tick:
            tick(n + 1, FRAMES // 2)
    frames = [*out, *reversed(out)]  # the way back shows the same
    with atomic_open(path) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS, loop=0)
    return path


def _frame(image: Image.Image, outcome: Outcome, distortion: Distortion) -> Image.Image:
    small = image.convert("RGB").resize((SIDE, max(1, round(SIDE * image.height / image.width))))
    keys = [key for key in ("softmax", "sigmoid") if (key, False) in outcome.after] or ["softmax"]
    page = Image.new("RGB", (SIDE * len(keys), small.height + STRIP), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13)
    for n, key in enumerate(keys):
        S = outcome.after[key, SOURCES[key].clamp].cpu().numpy()
        values = render.scaled([render.enlarge(S)])[0].values
        page.paste(render.overlay(small, values), (n * SIDE, 0))
        draw.text((n * SIDE + 6, small.height + 4), SOURCES[key].title, "black", font)
    numbers = f"{distortion.equation()}   max |dp| {outcome.numbers['max_dp']:.0e}"
    draw.text((6, small.height + 23), numbers, "dimgray", font)
    return page
