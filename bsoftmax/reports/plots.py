"""Plots of what differs: differences with their intervals (a forest plot), and curves.

As narrow as a telephone shows them at their size; colours are Okabe and Ito's, and every series has its own mark too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation import metrics
from ..evaluation.column import differs
from ..images.export import save_figure
from ..images.page_layout import NOTE_COLOUR, TEXT_COLOUR, Page, line_height, text_width, wrap
from ..utils.text import printable
from .text import Numbers, Results, source_title
from .topics import kind_of, topics

WIDTH, MARGIN, GAP = 3.9, 0.12, 0.12  # inches
TITLE, TEXT, SMALL = 9.5, 9.0, 8.0  # points
ROW, AXIS, CURVE = 0.135, 0.36, 2.0  # inches: a mark's row, the axis below, the height of curves
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
MARKS = "osD^vPX"
PLATE = {"facecolor": "white", "linewidth": 0, "pad": 0.4}  # under text that lines would cross
BETTER = {True: "worse \N{LEFTWARDS ARROW}  \N{RIGHTWARDS ARROW} better", False: "better \N{LEFTWARDS ARROW}  "
          "\N{RIGHTWARDS ARROW} worse", None: "lower \N{LEFTWARDS ARROW}  \N{RIGHTWARDS ARROW} higher"}  # fmt: skip
KEY = "Filled: a difference; hollow: none that is certain."
FIGURES = {
    "forest": "Differences with their 95 % intervals, a row a question and method; the line is no difference",
    "curves": "Curves of every source and clamp",
}
AXES = {
    "deletion": ("Deletion: lower is better", "pixels taken away, %", "confidence"),
    "insertion": ("Insertion: higher is better", "pixels put back, %", "confidence"),
    "precision_recall": ("Pixels of the object", "recall", "precision"),
}


@dataclass(frozen=True)
class Panel:
    """Differences in one metric: {question: {series: the difference}}."""

    title: str
    metric: str
    rows: Mapping[str, Mapping[str, Numbers]]


def drawn(results: Results) -> list[str]:
    """The names of the figures there are of these results."""
    return [name for name, there in (("forest", panels(results)), ("curves", _curves(results))) if there]


def figures(results: Results) -> dict[str, Figure]:
    """The forest plot of its differences and the curves that were measured, by name."""
    made, words = {}, _caption(results)
    if found := panels(results):
        made["forest"] = forest(found, words)
    if lines := _curves(results):
        made["curves"] = curves(lines, words)
    return made


def save(results: Results, folder: Path) -> list[Path]:
    """Writes forest.png, forest.svg and, where curves were measured, curves.png and curves.svg."""
    made = figures(results)
    for name in (f"{name}.{end}" for name in FIGURES.keys() - made.keys() for end in ("png", "svg")):
        (folder / name).unlink(missing_ok=True)
    return [save_figure(fig, folder / f"{name}.{end}") for name, fig in made.items() for end in ("png", "svg")]


def _caption(results: Results) -> str:
    return printable(f"{results['n']:,} images of {results['data']['source']}, model {results['model']['name']}.")


def panels(results: Results, methods: Sequence[str] | None = None) -> list[Panel]:
    """One for the first metric of each topic, a series for each method; none where nothing can be compared."""
    found = []
    for topic, names in topics(results):
        rows: dict[str, dict[str, Numbers]] = {}
        for contrast in results.get("contrasts", ()):
            if names[0] in contrast["difference"] and contrast["method"] in (methods or METHODS):
                series = rows.setdefault(contrast["question"], {})
                series[METHODS[contrast["method"]].label] = contrast["difference"][names[0]]
        if rows:
            found.append(Panel(f"{topic.title}: {metrics.find(names[0]).title}", names[0], rows))
    return found


def forest(panels: Sequence[Panel], caption: str = "") -> Figure:
    """A forest plot: every difference as a mark with its interval, under its question, about a line at 0."""
    series = list(dict.fromkeys(name for panel in panels for row in panel.rows.values() for name in row))
    layouts = [_rows(panel) for panel in panels]
    heads = [*wrap(caption, WIDTH - 2 * MARGIN, SMALL, 4), *wrap(KEY, WIDTH - 2 * MARGIN, SMALL, 2)]
    keys = _key_lines(series)
    top = MARGIN + line_height(SMALL) * (len(heads) + len(keys)) + GAP / 2
    heights = [line_height(TITLE) + layout.height + AXIS for layout in layouts]
    page = Page(WIDTH, top + sum(heights) + GAP * (len(panels) - 1) + MARGIN)
    page.text(MARGIN, MARGIN, heads, SMALL, ha="left", color=NOTE_COLOUR)
    _draw_key(page, MARGIN + line_height(SMALL) * len(heads), keys, series)
    y = top
    for panel, layout, height in zip(panels, layouts, heights):
        page.text(MARGIN, y, [panel.title], TITLE, ha="left", weight="bold")
        _draw_panel(page, y + line_height(TITLE), panel, layout, series)
        y += height + GAP
    return page.figure


@dataclass(frozen=True)
class _Rows:
    """The lines of each question and the centre of each mark, in inches from the panel's top."""

    labels: list[tuple[float, list[str]]]
    marks: list[tuple[float, str, Numbers]]
    height: float


def _rows(panel: Panel) -> _Rows:
    y, labels, marks = 0.03, [], []
    for question, row in panel.rows.items():
        lines = wrap(question, WIDTH - 2 * MARGIN, TEXT, 2)
        labels.append((y, lines))
        y += line_height(TEXT) * len(lines)
        for name, cell in row.items():
            marks.append((y + ROW / 2, name, cell))
            y += ROW
        y += 0.04
    return _Rows(labels, marks, y)


def _draw_panel(page: Page, y: float, panel: Panel, rows: _Rows, series: Sequence[str]) -> None:
    axes = page.axes(MARGIN, y, WIDTH - 2 * MARGIN, rows.height)
    _frame(axes, panel, rows)
    for place, name in enumerate(series):
        mine = [(at, cell) for at, of, cell in rows.marks if of == name]
        if not mine:
            continue
        at, cells = zip(*mine)
        colour = COLOURS[place % len(COLOURS)]
        axes.hlines(at, [c["low"] for c in cells], [c["high"] for c in cells], color=colour, linewidth=1.3)
        axes.scatter(
            [c["value"] for c in cells], at, marker=MARKS[place % len(MARKS)], s=20, linewidths=1.1, edgecolors=colour,
            facecolors=[colour if differs(c) else "white" for c in cells], zorder=3,
        )  # fmt: skip
    for top, lines in rows.labels:
        page.text(MARGIN, y + top, lines, TEXT, ha="left", bbox=PLATE)


def _frame(axes: Axes, panel: Panel, rows: _Rows) -> None:
    axes.set_axis_on()
    ends = [cell[end] for _, _, cell in rows.marks for end in ("low", "high")]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    reach = 0.04 * (high - low) or 1.0
    axes.set_xlim(low - reach, high + reach)
    axes.set_ylim(rows.height, 0)
    axes.set_yticks([])
    axes.axvline(0, color=TEXT_COLOUR, linewidth=0.9)
    axes.grid(axis="x", color="#e3e5ea", linewidth=0.6)
    _plain(axes)
    axes.spines["left"].set_visible(False)
    metric = metrics.find(panel.metric)
    unit = "difference in points" if metric.unit == "%" else "difference"
    axes.set_xlabel(f"{BETTER[metric.higher_is_better]}   ({unit})", fontsize=SMALL, color=NOTE_COLOUR, labelpad=2)


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, length=2, pad=2, colors=NOTE_COLOUR)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(NOTE_COLOUR)


def _key_lines(series: Sequence[str]) -> list[list[str]]:
    """The series in lines of the figure's width."""
    lines: list[list[str]] = [[]]
    room = WIDTH - 2 * MARGIN
    for name in series:
        room -= _key_width(name)
        if room < 0 and lines[-1]:
            lines.append([])
            room = WIDTH - 2 * MARGIN - _key_width(name)
        lines[-1].append(name)
    return lines


def _key_width(name: str) -> float:
    return 0.36 + text_width(name, SMALL)


def _draw_key(page: Page, y: float, lines: Sequence[Sequence[str]], series: Sequence[str]) -> None:
    for line in lines:
        x = MARGIN
        for name in line:
            place = series.index(name)
            axes = page.axes(x, y, 0.2, line_height(SMALL))
            axes.set_xlim(-1, 1)
            axes.set_ylim(-1, 1)
            colour = COLOURS[place % len(COLOURS)]
            axes.plot([-0.9, 0, 0.9], [0, 0, 0], color=colour, marker=MARKS[place % len(MARKS)], markevery=[1],
                      markersize=4.4, linewidth=1.3, clip_on=False)  # fmt: skip
            page.text(x + 0.24, y, [name], SMALL, ha="left")
            x += _key_width(name)
        y += line_height(SMALL)


def _curves(results: Results) -> dict[str, dict[tuple[str, bool], tuple[list[float], list[float]]]]:
    """{kind of curve: {source and clamp: (x, y)}} of the first method that has any."""
    found: dict[str, dict[tuple[str, bool], tuple[list[float], list[float]]]] = {}
    for kind in AXES:
        columns = [c for c in results["columns"] if kind in c["curves"]]
        for column in (c for c in columns if c["method"] == columns[0]["method"]):
            found.setdefault(kind, {})[kind_of(column)] = _points(kind, column["curves"][kind])
    return found


def _points(kind: str, curve: Any) -> tuple[list[float], list[float]]:
    if kind == "precision_recall":
        return curve["recall"], curve["precision"]
    return [100 * n / max(len(curve) - 1, 1) for n in range(len(curve))], curve


def curves(
    found: Mapping[str, Mapping[tuple[str, bool], tuple[Sequence[float], Sequence[float]]]], caption: str = ""
) -> Figure:
    """A panel a kind of curve, a line a source (colour) and clamp (solid; dashed without it)."""
    heads = wrap(caption, WIDTH - 2 * MARGIN, SMALL, 4)
    kinds = sorted(dict.fromkeys(kind for lines in found.values() for kind in lines), key=_rank)
    top, key = MARGIN + line_height(SMALL) * len(heads), line_height(SMALL) * len(kinds) + GAP
    page = Page(WIDTH, top + key + len(found) * (line_height(TITLE) + CURVE + AXIS) + MARGIN)
    page.text(MARGIN, MARGIN, heads, SMALL, ha="left", color=NOTE_COLOUR)
    _curve_key(page, top, kinds)
    y = top + key
    for name, lines in found.items():
        page.text(MARGIN, y, [AXES[name][0]], TITLE, ha="left", weight="bold")
        axes = page.axes(MARGIN + 0.45, y + line_height(TITLE) + 0.03, WIDTH - 2 * MARGIN - 0.5, CURVE - 0.06)
        axes.set_axis_on()
        for kind, (xs, ys) in lines.items():
            axes.plot(xs, ys, **_style(kind))
        axes.set_xlabel(AXES[name][1], fontsize=SMALL, color=NOTE_COLOUR, labelpad=2)
        axes.set_ylabel(AXES[name][2], fontsize=SMALL, color=NOTE_COLOUR, labelpad=2)
        axes.grid(color="#e3e5ea", linewidth=0.6)
        _plain(axes)
        y += line_height(TITLE) + CURVE + AXIS
    return page.figure


def _rank(kind: tuple[str, bool]) -> tuple[int, bool]:
    return list(SOURCES).index(kind[0]), kind[1]


def _style(kind: tuple[str, bool]) -> dict[str, Any]:
    return {"color": COLOURS[_rank(kind)[0] % len(COLOURS)], "linestyle": "-" if kind[1] else (0, (3, 1.5)),
            "linewidth": 1.4}  # fmt: skip


def _curve_key(page: Page, y: float, kinds: Sequence[tuple[str, bool]]) -> None:
    for kind in kinds:
        axes = page.axes(MARGIN, y, 0.34, line_height(SMALL))
        axes.set_ylim(-1, 1)
        axes.plot([0, 1], [0, 0], **_style(kind))
        page.text(MARGIN + 0.42, y, [source_title(*kind)], SMALL, ha="left")
        y += line_height(SMALL)
