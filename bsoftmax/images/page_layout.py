"""A matplotlib page with positions in inches, and text set verbatim: wrapped and cut, never parsed as mathtext."""

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

TEXT_COLOUR, NOTE_COLOUR = "#16181d", "#5b6270"
OTHER_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "Noto Emoji", "Noto Sans")
MAX_CHARACTERS = 2000  # longer strings are cut before they are measured


class Page:
    """A white figure with positions in inches from the top left."""

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
        """Lines from the top y downwards, with baselines independent of the letters."""
        for number, line in enumerate(lines):
            top = y + (number + 0.8) * line_height(size)
            options = {"ha": "center", "va": "baseline", "color": TEXT_COLOUR, **verbatim(size), **style}
            self.figure.text(x / self.width, 1 - top / self.height, line, **options)

    def vertical_text(self, x: float, y: float, lines: Sequence[str], size: float) -> None:
        """Lines rotated by 90 degrees, centred at y, the last one ending at x."""
        for number, line in enumerate(reversed(lines)):
            left = x - (number + 0.2) * line_height(size)
            options = {"ha": "center", "va": "baseline", "color": TEXT_COLOUR, **verbatim(size)}
            options |= {"rotation": 90, "rotation_mode": "anchor"}
            self.figure.text(left / self.width, 1 - y / self.height, line, **options)


def verbatim(size: float) -> dict[str, Any]:
    """Arguments of matplotlib's text that turn off mathtext and TeX; `size` in points."""
    return {"fontproperties": font(size), "parse_math": False, "usetex": False, "linespacing": 1.1}


def font(size: float) -> FontProperties:
    """DejaVu Sans, which comes with matplotlib, and the installed fonts of OTHER_SCRIPTS."""
    return FontProperties(family=["DejaVu Sans", *_installed_others()], size=size)


@cache
def _installed_others() -> tuple[str, ...]:
    installed = set(get_font_names())
    return tuple(name for name in OTHER_SCRIPTS if name in installed)


def line_height(size: float) -> float:
    """Distance of baselines in inches, for a size in points."""
    return 1.25 * size / 72


def text_width(text: str, size: float) -> float:
    """Width of one line in inches."""
    return text_to_path.get_text_width_height_descent(text, font(size), False)[0] / 72


def wrap(text: str, width: float, size: float, most: int) -> list[str]:
    """Breaks a string after spaces, _, /, - and commas into at most `most` lines of `width` inches; cuts with an …."""
    text = "".join(c if c.isprintable() else " " for c in text[:MAX_CHARACTERS]).strip()
    lines = [""]
    for word in re.findall(r"[^ _/,-]*[ _/,-]*", text):
        if len(lines) < most and lines[-1] and text_width((lines[-1] + word).rstrip(), size) > width:
            lines.append("")
        lines[-1] += word
    return [_cut(line.rstrip(), width, size) for line in lines if line]


def _cut(line: str, width: float, size: float) -> str:
    if text_width(line, size) <= width:
        return line
    low, high = 0, len(line)  # number of characters that fit, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(line[:middle].rstrip() + "…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return line[:low].rstrip() + "…"
