"""The figure of a sweep: a row for each metric, a column for each direction, curves with bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.metrics import METRICS
from ..utils.files import atomic_open
from .directions import DIRECTIONS

ROWS = ("gt_loc", "max_box_acc_v2", "average_drop", "blank", "centred_rank")
STILL = {  # maps that a shift does not move: name and colour (of Okabe and Ito, told apart by the colour-blind)
    ("sigmoid", True): ("branch, clamped", "#0072B2"),
    ("centred", False): ("centred rows", "#009E73"),
}
MOVED = {False: ("softmax", "#D55E00", "-"), True: ("softmax, clamped", "#E69F00", "--")}
WIDTH, HEIGHT = 2.5, 1.9  # inches of a panel
SUFFIXES = (".png", ".svg")
Found = dict[str, Any]


def figure(found: Found) -> Figure:
    """Draws a gauge.json: softmax under the shifts, the maps that stand still, bands of 95 %, and the crossings."""
    rows = [metric for metric in ROWS if any(metric in point["metrics"] for point in found["points"])]
    columns = [name for name in found["directions"] if any(p["direction"] == name for p in found["points"])]
    if not rows or not columns:
        raise ValueError("There is nothing to draw: no direction was measured.")
    page = Figure((WIDTH * len(columns) + 0.8, HEIGHT * len(rows) + 0.9), layout="constrained")
    axes = page.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
    for r, metric in enumerate(rows):
        for c, name in enumerate(columns):
            _panel(axes[r, c], found, metric, name)
        unit = METRICS[metric].unit
        axes[r, 0].set_ylabel(_label(metric) + (f", {unit}" if unit else ""), fontsize=8)
    for c, name in enumerate(columns):
        axes[0, c].set_title(DIRECTIONS[name].title, fontsize=9)
        axes[-1, c].set_xlabel("size of the shift, row norms", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3), fontsize=8, frameon=False)
    return page


def _label(metric: str) -> str:
    return {"centred_rank": "Rank corr. with\ncentred map"}.get(metric, METRICS[metric].title)


def _panel(axis: Axes, found: Found, metric: str, name: str) -> None:
    sizes = found["sizes"]
    for point in found["still"]:
        if (kind := (point["source"], point["clamp"])) in STILL and metric in point["metrics"]:
            label, colour = STILL[kind]
            _line(axis, sizes, [point["metrics"][metric]] * len(sizes), label, colour, "-")
    for clamp, (label, colour, style) in MOVED.items():
        line = [p for p in found["points"] if p["direction"] == name and p["clamp"] == clamp]
        known = [p for p in line if metric in p["metrics"]]
        if len(known) > 1:
            _line(axis, [p["size"] for p in known], [p["metrics"][metric] for p in known], label, colour, style)
    axis.axvline(found["head"]["share"], color="0.4", lw=0.8, ls=":", label="this head's class-mean row")
    for at in found["crossings"]:
        if (at["direction"], at["metric"], tuple(at["by"])) == (name, metric, ("sigmoid", True)) and at["value"]:
            _mark(axis, at, sizes[-1])
    positive = [size for size in sizes if size]
    axis.set_xscale("symlog", base=2, linthresh=min(positive), linscale=0.5)
    axis.set_xticks([0, *positive], ["0", *(f"{size:g}" for size in positive)])
    axis.set_xlim(0, sizes[-1])
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _line(
    axis: Axes, sizes: Sequence[float], cells: Sequence[dict[str, float]], label: str, colour: str, style: str
) -> None:
    low, value, high = ([cell[end] for cell in cells] for end in ("low", "value", "high"))
    axis.fill_between(sizes, low, high, color=colour, alpha=0.15, lw=0)
    axis.plot(sizes, value, style, color=colour, lw=1.4, label=label)


def _mark(axis: Axes, at: dict[str, Any], end: float) -> None:
    """The crossing and its interval, near the lower edge; an interval without an end reaches the border."""
    transform = axis.get_xaxis_transform()
    high = end if at["high"] is None else at["high"]
    axis.plot([at["low"] or 0, high], [0.04, 0.04], color="black", lw=1.5, transform=transform, solid_capstyle="butt")
    axis.plot(at["value"], 0.04, "v", color="black", ms=5, transform=transform, label="the branch overtakes softmax")


def save(found: Found, folder: Path) -> list[Path]:
    """Writes gauge.png and gauge.svg."""
    drawn, paths = figure(found), [folder / f"gauge{suffix}" for suffix in SUFFIXES]
    for path in paths:
        with atomic_open(path) as file:
            drawn.savefig(file, format=path.suffix[1:], dpi=160)
    return paths
