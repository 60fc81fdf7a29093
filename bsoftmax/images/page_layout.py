"""A page addressed in inches, and strings on it that appear as they are: broken into lines, cut, never interpreted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import text_to_path

INK, PALE = "#16181d", "#5b6270"
OTHER_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "Noto Emoji", "Noto Sans")
LONGEST = 2000  # characters: longer strings are cut before they are measured


class Page:
    """A white figure whose parts are placed in inches from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=300, facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Empty axes without frame or ticks."""
        W, H = self.width, self.height
        axes = self.figure.add_axes((x / W, 1 - (y + height) / H, width / W, height / H))
        axes.set_axis_off()
        return axes

    def text(self, x: float, y: float, lines: Sequence[str], size: float, **style: Any) -> None:
        """Lines set from the top y downwards; baselines do not depend on which letters a line happens to have."""
        for number, line in enumerate(lines):
            at = x / self.width, 1 - (y + (number + 0.8) * line_height(size)) / self.height
            self.figure.text(*at, line, **literal(size), **{"ha": "center", "va": "baseline", "color": INK, **style})

    def sideways(self, x: float, y: float, lines: Sequence[str], size: float) -> None:
        """Lines that read upwards, centred at y, the last one ending at x."""
        for number, line in enumerate(reversed(lines)):
            at = (x - (number + 0.2) * line_height(size)) / self.width, 1 - y / self.height
            style = {"rotation": 90, "rotation_mode": "anchor", "ha": "center", "va": "baseline", "color": INK}
            self.figure.text(*at, line, **literal(size), **style)


def literal(size: float) -> dict[str, Any]:
    """Arguments of matplotlib's text for a string to be shown as it is: no mathtext, no TeX; `size` in points."""
    return {"fontproperties": font(size), "parse_math": False, "usetex": False, "linespacing": 1.1}


def font(size: float) -> FontProperties:
    """DejaVu Sans, which comes with matplotlib, and whatever is installed of the scripts that it lacks."""
    return FontProperties(family=["DejaVu Sans", *_others()], size=size)


@cache
def _others() -> tuple[str, ...]:
    installed = set(get_font_names())
    return tuple(name for name in OTHER_SCRIPTS if name in installed)


def line_height(size: float) -> float:
    """Inches from one baseline to the next, for a size in points."""
    return 1.25 * size / 72


def text_width(text: str, size: float) -> float:
    """Width of one line in inches."""
    return text_to_path.get_text_width_height_descent(text, font(size), False)[0] / 72


def wrap(text: str, width: float, size: float, most: int) -> list[str]:
    """Breaks a string into at most `most` lines of `width` inches, after spaces, _, /, - and commas; cuts with an …."""
    text = "".join(c if c.isprintable() else " " for c in text[:LONGEST]).strip()
    lines = [""]
    for word in re.findall(r"[^ _/,-]*[ _/,-]*", text):
        if len(lines) < most and lines[-1] and text_width((lines[-1] + word).rstrip(), size) > width:
            lines.append("")
        lines[-1] += word
    return [_cut(line.rstrip(), width, size) for line in lines if line]


def _cut(line: str, width: float, size: float) -> str:
    if text_width(line, size) <= width:
        return line
    low, high = 0, len(line)  # how many letters fit, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(line[:middle].rstrip() + "…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return line[:low].rstrip() + "…"
