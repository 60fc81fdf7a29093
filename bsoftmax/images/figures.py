"""Figures for a paper: a row for each image, a column for each map, like the paper's Figure 3.

Built from matplotlib's objects: pyplot's global state is not thread-safe. Positions are in inches, so that panels are
equally large and the text has its size in print.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from . import render
from .export import save_figure, save_maps
from .page_layout import NOTE_COLOUR, Page, line_height, text_width, verbatim, wrap

__all__ = ["Panel", "Row", "figure", "save_figure", "save_maps"]

ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9  # inches: the usual text widths of a paper
MARGIN, GAP, LEGEND, BAR = 0.04, 0.05, 0.27, 1.06
MIN_ASPECT, MAX_ASPECT = 0.4, 1.5  # of a row: height / width of its panels
PIXELS = 720  # largest side of an embedded image: more than 600 dpi in one column
TITLE, TEXT, SMALL = 7.5, 7.0, 6.2  # points
FOUND, TRUTH = "#3dff6e", "#ff2d2d"
BLANK = "all evidence negative"


@dataclass(frozen=True)
class Panel:
    """One map: a title for the column, a subtitle under the panel, and the signed map S [P,Q]."""

    title: str
    subtitle: str
    S: NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One image and its maps; `truth` holds boxes (x0, y0, x1, y1), inclusive, in pixels of the image."""

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
class _Map:
    """A map to draw: signed, on the figure's scale, and min-max normalised for its box."""

    S: NDArray[Any]
    scaled: NDArray[Any]
    minmax: NDArray[Any]


@dataclass(frozen=True)
class _RowLayout:
    """The lines of a row's titles and subtitles, and the height of its images in inches."""

    titles: list[list[str]]
    subtitles: list[list[str]]
    image: float

    @property
    def titles_height(self) -> float:
        return line_height(TITLE) * max(map(len, self.titles), default=0)

    @property
    def height(self) -> float:
        subtitles = line_height(SMALL) * max(map(len, self.subtitles), default=0)
        return self.titles_height + self.image + subtitles + GAP


def figure(
    rows: Sequence[Row],
    *,
    scale: str = "each",
    cmap: str = "turbo",
    opacity: float = 0.55,
    tau: float | None = None,
    caption: str = "",
) -> Figure:
    """Draws images and maps side by side, one column of a paper wide, or two with four maps or more.

    M = SCALES[scale] of enlarge(S), in [0, 1], resized to the whole image, coloured and overlaid. `signed` always has a
    diverging colour map. With `tau`, boxes of the rectified map are drawn, whatever the scale. Strings are verbatim.
    Raises ValueError for no maps, maps not [P,Q] or not finite, and as render does.
    """
    maps = _maps(rows)
    fine = [render.enlarge(S) for S in maps]
    values = render.scaled(fine, scale)
    minmaxed = render.scaled(fine, "each")
    shown = iter([_Map(S, v.values, a.values) for S, v, a in zip(maps, values, minmaxed)])
    if scale == "signed" and cmap in render.SEQUENTIAL:  # a sequential colour map would show zero as strong evidence
        cmap = render.DIVERGING[0]
    style = _Style(scale, cmap, opacity, tau)
    columns = 1 + max(len(row.panels) for row in rows)
    width = ONE_COLUMN if columns <= 4 else TWO_COLUMNS
    label_width = line_height(TEXT) * max(len(wrap(row.label, 1, TEXT, 2)) for row in rows)
    side = (width - 2 * MARGIN - label_width - (columns - 1) * GAP) / columns
    layouts = [_row_layout(row, above, side) for above, row in zip([None, *rows], rows)]
    caption_lines = wrap(caption, width - 2 * MARGIN, TEXT, 8)
    height = sum(layout.height for layout in layouts) + LEGEND + line_height(TEXT) * len(caption_lines)
    page = Page(width, 2 * MARGIN + height)
    y = MARGIN
    for row, layout in zip(rows, layouts):
        _draw_row(page, row, layout, (MARGIN + label_width, y, side), [next(shown) for _ in row.panels], style)
        y += layout.height
    _draw_legend(page, y, values[0], style, any(row.truth for row in rows))
    page.text(MARGIN, y + LEGEND, caption_lines, TEXT, ha="left")
    return page.figure


def _maps(rows: Sequence[Row]) -> list[NDArray[Any]]:
    maps = [np.asarray(panel.S) for row in rows for panel in row.panels]
    if not maps:
        raise ValueError("Expected at least one row with at least one map to draw, got none.")
    for S in maps:
        if S.ndim != 2:
            raise ValueError(f"Expected maps of the shape [P, Q], got {S.shape}.")
    return maps


def _row_layout(row: Row, above: Row | None, side: float) -> _RowLayout:
    names = [panel.title for panel in row.panels]
    repeated = above and names == [panel.title for panel in above.panels]
    titles = [] if repeated else [wrap(name, side, TITLE, 2) for name in ["input", *names]]
    subtitles = [wrap(panel.subtitle, side, SMALL, 2) for panel in row.panels]
    aspect = float(np.clip(row.image.height / row.image.width, MIN_ASPECT, MAX_ASPECT))
    return _RowLayout(titles, subtitles, side * aspect)


def _draw_row(
    page: Page, row: Row, layout: _RowLayout, at: tuple[float, float, float], shown: Sequence[_Map], style: _Style
) -> None:
    left, y, side = at
    top = y + layout.titles_height
    centres = [left + column * (side + GAP) + side / 2 for column in range(1 + len(shown))]
    for x, lines in zip(centres, layout.titles):
        page.text(x, top - 0.02 - line_height(TITLE) * len(lines), lines, TITLE)
    for x, lines in zip(centres[1:], layout.subtitles):
        page.text(x, top + layout.image + 0.02, lines, SMALL, color=NOTE_COLOUR)
    page.vertical_text(left - 0.02, top + layout.image / 2, wrap(row.label, layout.image, TEXT, 2), TEXT)
    image = row.image.convert("RGB")
    image.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS, reducing_gap=3.0)
    width = min(side, layout.image * row.image.width / row.image.height)
    height = width * row.image.height / row.image.width
    for x, panel in zip(centres, [None, *shown]):
        axes = page.axes(x - width / 2, top + (layout.image - height) / 2, width, height)
        _draw_panel(axes, image, panel, width, style)
        _draw_boxes(axes, [_edges(box, row.image.size, image) for box in row.truth], TRUTH)


def _draw_panel(axes: Axes, image: Image.Image, shown: _Map | None, width: float, style: _Style) -> None:
    pixels = render.overlay(image, shown.scaled, style.cmap, style.opacity) if shown else image
    axes.imshow(pixels, aspect="auto", interpolation="antialiased")
    if shown and render.is_blank(shown.S):
        lines = wrap(BLANK, max(width - 0.1, 0.5), SMALL, 3)
        options = verbatim(SMALL) | {"transform": axes.transAxes, "ha": "center", "va": "center", "color": "white"}
        background = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 2}
        axes.text(0.5, 0.5, "\n".join(lines), bbox=background, **options)
    if shown and style.tau is not None:
        box = render.box_at(shown.minmax, style.tau)
        _draw_boxes(axes, [_edges(box, (render.SIDE, render.SIDE), image)] if box else [], FOUND)


def _edges(box: render.Box, size: tuple[int, int], image: Image.Image) -> tuple[float, float, float, float]:
    """Outer edges, in the drawn image, of an inclusive box of a map or image of `size` (width, height)."""
    x0, y0, x1, y1 = box
    edges = np.array([x0, y0, x1 + 1, y1 + 1]) * np.tile([image.width / size[0], image.height / size[1]], 2)
    left, top, right, bottom = (np.clip(edges, 0, np.tile(image.size, 2)) - 0.5).tolist()
    return left, top, right, bottom


def _draw_boxes(axes: Axes, boxes: Sequence[tuple[float, float, float, float]], colour: str) -> None:
    for x0, y0, x1, y1 in boxes:
        box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=0.9, joinstyle="miter")
        box.set_clip_on(False)
        box.set_path_effects([withStroke(linewidth=1.9, foreground="#000000a0")])
        axes.add_patch(box)


def _draw_legend(page: Page, y: float, shown: render.Scaled, style: _Style, truth: bool) -> None:
    """The colour bar with its two ends, and a key to the boxes."""
    name, ends = "one scale", [_number(shown.vmin, style), _number(shown.vmax, style)]
    if style.scale == "each":
        name, ends = "each map", ["min", "max"]
    x, middle = MARGIN + text_width(name, SMALL) + 0.06, y + 0.075
    page.text(MARGIN, middle - 0.06, [name], SMALL, ha="left", color=NOTE_COLOUR)
    bar = page.axes(x, middle - 0.035, BAR, 0.07)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=style.cmap, aspect="auto", interpolation="nearest")
    for offset, end in zip((0, BAR), ends):
        page.text(x + offset, middle + 0.045, [end], SMALL, ha="right" if offset else "left", color=NOTE_COLOUR)
    if style.scale == "signed" and 2 * text_width(ends[1], SMALL) + 0.15 < BAR:
        page.text(x + BAR / 2, middle + 0.045, ["0"], SMALL, color=NOTE_COLOUR)
    keys = [] if style.tau is None else [(FOUND, f"above {100 * style.tau:g} % of max")]
    x = page.width - MARGIN
    for colour, text in [*([(TRUTH, "truth")] if truth else []), *keys]:
        page.text(x, middle - 0.06, [text], SMALL, ha="right", color=NOTE_COLOUR)
        x -= text_width(text, SMALL) + 0.13
        _draw_boxes(page.axes(x, middle - 0.035, 0.09, 0.07), [(0.0, 0.0, 1.0, 1.0)], colour)
        x -= 0.08


def _number(value: float, style: _Style) -> str:
    text = f"{value:+.3g}" if style.scale == "signed" and value else f"{abs(value):.3g}"
    return re.sub(r"e\+?(-?)0*", r"e\1", text).replace("-", "\N{MINUS SIGN}")  # 1.2e+04 as 1.2e4, to fit the bar
