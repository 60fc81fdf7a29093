"""The figure one takes home: rows of pictures, columns of maps, like the paper's Figure 3.

Built from matplotlib's objects, never pyplot, whose global state is unsafe among a server's threads. Everything is
placed in inches, so that panels come out equal and the text keeps its size in print.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from . import render
from .export import save_figure, save_maps
from .page_layout import PALE, Page, line_height, literal, text_width, wrap

__all__ = ["Panel", "Row", "figure", "save_figure", "save_maps"]

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches: the usual text widths of a paper
MARGIN, GAP, LEGEND, BAR = 0.04, 0.05, 0.27, 1.06
FLATTEST, TALLEST = 0.4, 1.5  # a row's height as a share of its panels' width
PIXELS = 720  # largest side of an embedded picture: more than 600 dpi in one column
TITLE, TEXT, SMALL = 7.5, 7.0, 6.2  # points
FOUND, TRUTH = "#3dff6e", "#ff2d2d"
BLANK = "all evidence negative"


@dataclass(frozen=True)
class Panel:
    """One map: a title for the column, a subtitle under the panel, and the signed map S [P,Q]."""

    title: str
    subtitle: str
    S: np.ndarray


@dataclass(frozen=True)
class Row:
    """One picture and its maps; `truth` holds boxes (x0, y0, x1, y1), inclusive, in the picture's own pixels."""

    image: Image.Image
    label: str
    panels: tuple[Panel, ...]
    truth: tuple[render.Box, ...] = ()


@dataclass(frozen=True)
class _Style:
    scale: str
    cmap: str
    opacity: float
    tau: float | None


@dataclass(frozen=True)
class _Shown:
    """A map to draw: signed, on the figure's scale, and min-maxed by itself for its box."""

    S: np.ndarray
    on_scale: np.ndarray
    alone: np.ndarray


@dataclass(frozen=True)
class _Band:
    """What a row takes of the page: lines of text above and below, and the height of its pictures in inches."""

    heads: list[list[str]]
    feet: list[list[str]]
    picture: float

    @property
    def head(self) -> float:
        return line_height(TITLE) * max(map(len, self.heads), default=0)

    @property
    def height(self) -> float:
        return self.head + self.picture + line_height(SMALL) * max(map(len, self.feet), default=0) + GAP


def figure(
    rows: Sequence[Row],
    *,
    scale: str = "each",
    cmap: str = "turbo",
    opacity: float = 0.55,
    tau: float | None = None,
    caption: str = "",
) -> Figure:
    """Draws inputs and maps side by side, a row for each picture: one column of a paper wide, two from four maps on.

    M = SCALES[scale](enlarge(S)) in [0, 1], stretched over the whole picture, coloured, and laid on it. `signed`
    always takes a diverging colour map. Boxes, where `tau` is given, are of the rectified map whatever the scale.
    Strings appear as they are. Raises ValueError for no maps, maps not [P,Q] or not finite, and what render refuses.
    """
    maps = _maps(rows)
    fine = [render.enlarge(S) for S in maps]
    values = render.scaled(fine, scale)
    alone = render.scaled(fine, "each")
    shown = iter([_Shown(S, v.values, a.values) for S, v, a in zip(maps, values, alone)])
    if scale == "signed" and cmap in render.SEQUENTIAL:  # a sequential map would paint zero as strong evidence
        cmap = render.DIVERGING[0]
    style = _Style(scale, cmap, opacity, tau)
    columns = 1 + max(len(row.panels) for row in rows)
    width = ONE_COLUMN if columns <= 4 else TWO_COLUMNS
    strip = line_height(TEXT) * max(len(wrap(row.label, 1, TEXT, 2)) for row in rows)
    side = (width - 2 * MARGIN - strip - (columns - 1) * GAP) / columns
    bands = [_band(row, before, side) for before, row in zip([None, *rows], rows)]
    words = wrap(caption, width - 2 * MARGIN, TEXT, 8)
    page = Page(width, 2 * MARGIN + sum(b.height for b in bands) + LEGEND + line_height(TEXT) * len(words))
    y = MARGIN
    for row, band in zip(rows, bands):
        _draw_row(page, row, band, (MARGIN + strip, y, side), [next(shown) for _ in row.panels], style)
        y += band.height
    _draw_legend(page, y, values[0], style, any(row.truth for row in rows))
    page.text(MARGIN, y + LEGEND, words, TEXT, ha="left")
    return page.figure


def _maps(rows: Sequence[Row]) -> list[np.ndarray]:
    maps = [np.asarray(panel.S) for row in rows for panel in row.panels]
    if not maps:
        raise ValueError("Expected at least one row with at least one map to draw, got none.")
    for S in maps:
        if S.ndim != 2:
            raise ValueError(f"Expected maps of the shape [P, Q], got {S.shape}.")
    return maps


def _band(row: Row, before: Row | None, side: float) -> _Band:
    titles = [panel.title for panel in row.panels]
    if before and titles == [panel.title for panel in before.panels]:
        heads = []  # said once, above
    else:
        heads = [wrap(title, side, TITLE, 2) for title in ["input", *titles]]
    feet = [wrap(panel.subtitle, side, SMALL, 2) for panel in row.panels]
    return _Band(heads, feet, side * float(np.clip(row.image.height / row.image.width, FLATTEST, TALLEST)))


def _draw_row(
    page: Page, row: Row, band: _Band, at: tuple[float, float, float], shown: Sequence[_Shown], style: _Style
) -> None:
    left, y, side = at
    top = y + band.head
    centres = [left + column * (side + GAP) + side / 2 for column in range(1 + len(shown))]
    for x, lines in zip(centres, band.heads):
        page.text(x, top - 0.02 - line_height(TITLE) * len(lines), lines, TITLE)
    for x, lines in zip(centres[1:], band.feet):
        page.text(x, top + band.picture + 0.02, lines, SMALL, color=PALE)
    page.sideways(left - 0.02, top + band.picture / 2, wrap(row.label, band.picture, TEXT, 2), TEXT)
    image = row.image.convert("RGB")
    image.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS, reducing_gap=3.0)
    width = min(side, band.picture * row.image.width / row.image.height)
    height = width * row.image.height / row.image.width
    for x, panel in zip(centres, [None, *shown]):
        axes = page.axes(x - width / 2, top + (band.picture - height) / 2, width, height)
        _draw_panel(axes, image, panel, width, style)
        _draw_boxes(axes, [_edges(box, row.image.size, image) for box in row.truth], TRUTH)


def _draw_panel(axes: Axes, image: Image.Image, shown: _Shown | None, width: float, style: _Style) -> None:
    picture = render.overlay(image, shown.on_scale, style.cmap, style.opacity) if shown else image
    axes.imshow(picture, aspect="auto", interpolation="antialiased")
    if shown and render.is_blank(shown.S):
        lines = wrap(BLANK, max(width - 0.1, 0.5), SMALL, 3)
        plate = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 2}
        place = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": "white", "bbox": plate}
        axes.text(0.5, 0.5, "\n".join(lines), **literal(SMALL), **place)
    if shown and style.tau is not None:
        box = render.box_at(shown.alone, style.tau)
        _draw_boxes(axes, [_edges(box, (render.SIDE, render.SIDE), image)] if box else [], FOUND)


def _edges(box: render.Box, size: tuple[int, int], image: Image.Image) -> tuple[float, float, float, float]:
    """Outer edges, in the picture drawn, of a box of inclusive pixels of a map or picture of `size` (width, height)."""
    x0, y0, x1, y1 = box
    edges = np.array([x0, y0, x1 + 1, y1 + 1]) * np.tile([image.width / size[0], image.height / size[1]], 2)
    return tuple(np.clip(edges, 0, np.tile(image.size, 2)) - 0.5)


def _draw_boxes(axes: Axes, boxes: Sequence[tuple[float, float, float, float]], colour: str) -> None:
    for x0, y0, x1, y1 in boxes:
        style = {"fill": False, "edgecolor": colour, "linewidth": 0.9, "clip_on": False, "joinstyle": "miter"}
        box = Rectangle((x0, y0), x1 - x0, y1 - y0, **style)
        box.set_path_effects([withStroke(linewidth=1.9, foreground="#000000a0")])
        axes.add_patch(box)


def _draw_legend(page: Page, y: float, shown: render.Scaled, style: _Style, truth: bool) -> None:
    """The colour bar with its two ends, and what the boxes are."""
    lead, ends = "one scale", [_number(shown.vmin, style), _number(shown.vmax, style)]
    if style.scale == "each":
        lead, ends = "each map", ["min", "max"]
    x, middle = MARGIN + text_width(lead, SMALL) + 0.06, y + 0.075
    page.text(MARGIN, middle - 0.06, [lead], SMALL, ha="left", color=PALE)
    bar = page.axes(x, middle - 0.035, BAR, 0.07)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=style.cmap, aspect="auto", interpolation="nearest")
    for place, end in zip((0, BAR), ends):
        page.text(x + place, middle + 0.045, [end], SMALL, ha="right" if place else "left", color=PALE)
    if style.scale == "signed" and 2 * text_width(ends[1], SMALL) + 0.15 < BAR:
        page.text(x + BAR / 2, middle + 0.045, ["0"], SMALL, color=PALE)
    keys = [] if style.tau is None else [(FOUND, f"above {100 * style.tau:g} % of max")]
    x = page.width - MARGIN
    for colour, words in [*([(TRUTH, "truth")] if truth else []), *keys]:
        page.text(x, middle - 0.06, [words], SMALL, ha="right", color=PALE)
        x -= text_width(words, SMALL) + 0.13
        _draw_boxes(page.axes(x, middle - 0.035, 0.09, 0.07), [(0.0, 0.0, 1.0, 1.0)], colour)
        x -= 0.08


def _number(value: float, style: _Style) -> str:
    text = f"{value:+.3g}" if style.scale == "signed" and value else f"{abs(value):.3g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", text).replace("-", "\N{MINUS SIGN}")  # 1.2e+04 as 1.2e4: the bar is short
