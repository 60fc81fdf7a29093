"""A sweep in words, as a short table (gauge.md) and as all its numbers (gauge.csv)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation.metrics import METRICS
from ..reports.text import interval_of, joined, protocol_lines, rows_markdown
from ..utils.files import write_text
from ..utils.language import gettext as _
from . import figure
from .directions import DIRECTIONS

MAIN = ("gt_loc", "average_drop", "blank")  # the first of them that was measured leads the words
HEADER = ("direction", "size", "source", "clamp", "metric", "value", "low", "high", "n")
Found = dict[str, Any]


def write(found: Found, folder: Path) -> list[Path]:
    """Writes gauge.md, gauge.csv, gauge.png and gauge.svg beside gauge.json."""
    texts = {"gauge.md": markdown(found), "gauge.csv": table(found)}
    return [*(write_text(folder / name, text) for name, text in texts.items()), *figure.save(found, folder)]


def verdict(found: Found) -> list[str]:
    """What the sweep says, a sentence each."""
    share = found["head"]["share"]
    words = _(
        "On {n:,} images, {method}; the class-mean row of this head is {share:.1%} of a row's norm (0 for centred "
        "rows)."
    )
    out = [words.format(n=found["n"], method=METHODS[found["method"]].label, share=share)]
    metric = _leading(found)
    out += [_overtaken(found, name, metric) for name in found["directions"]]
    return [*(sentence for sentence in out if sentence), _unchanged(found)]


def _leading(found: Found) -> str:
    measured = {name for point in found["points"] for name in point["metrics"]}
    return next(name for name in MAIN if name in measured)


def _overtaken(found: Found, name: str, metric: str) -> str:
    at = next((c for c in found["crossings"] if (c["direction"], c["metric"]) == (name, metric)
               and tuple(c["by"]) == ("sigmoid", True)), None)  # fmt: skip
    if at is None:
        return ""
    said = {"direction": _(DIRECTIONS[name].title), "metric": _(METRICS[metric].title)}
    largest = found["sizes"][-1]
    if at["certain"] is None:
        words = _("{direction}: up to {largest:g} row norms the branch is never ahead in {metric} beyond its interval.")
        return words.format(largest=largest, **said)
    words = _(
        "{direction}: the branch, clamped, overtakes the unclamped softmax map in {metric} at {where} row norms, and "
        "from {certain:g} on its lead is larger than its interval."
    )
    where = f"{at['value']:.2g} [{_size(at['low'], largest)}, {_size(at['high'], largest)}]"
    return words.format(where=where, certain=at["certain"], **said)


def _size(value: float | None, largest: float) -> str:
    return _("over {largest:g}").format(largest=largest) if value is None else f"{value:.2g}"


def _unchanged(found: Found) -> str:
    still = [_(SOURCES[key].title).lower() for key in ("log-odds", "centred")]
    words = _(
        "No probability moved by more than {most:.0e}; {sources}, which need no training, do not move at any size."
    )
    return words.format(most=found["checks"]["max_dp"], sources=joined(still))


def markdown(found: Found) -> str:
    """The verdict, the figure, one table of crossings, the protocol."""
    lines = [f"- {sentence}" for sentence in verdict(found)]
    rows = list(_crossing_rows(found))
    heads = [
        "direction",
        "metric",
        "overtaken by",
        "at (row norms)",
        "95 %",
        "certain from",
        "at size 0",
        "at the largest",
    ]
    protocol = rows_markdown(["protocol", ""], [[name, str(value)] for name, value in protocol_lines(found) if value])
    notes = [f"- {note}" for note in found["notes"]]
    parts = ["# How far off centre before it matters", "\n".join(lines), "![The sweep](gauge.png)", *notes]
    return "\n\n".join([*parts, "## Where the unclamped softmax map is overtaken", rows_markdown(heads, rows),
                        "## Protocol", protocol]) + "\n"  # fmt: skip


def _crossing_rows(found: Found) -> Iterator[list[str]]:
    largest = found["sizes"][-1]
    for at in found["crossings"]:
        line = [p["metrics"][at["metric"]] for p in found["points"]
                if p["direction"] == at["direction"] and not p["clamp"] and at["metric"] in p["metrics"]]  # fmt: skip
        source, clamp = at["by"]
        by = f"{SOURCES[source].title}, {'clamped' if clamp else 'unclamped'}"
        bounds = f"[{_size(at['low'], largest)}, {_size(at['high'], largest)}]"
        where = [_size(at["value"], largest), bounds, "no size" if at["certain"] is None else f"{at['certain']:g}"]
        ends = [interval_of(line[0]), interval_of(line[-1])]
        yield [DIRECTIONS[at["direction"]].title, METRICS[at["metric"]].title, by, *where, *ends]


def table(found: Found) -> str:
    """Every number of the sweep, as CSV; size 0 and an empty direction for maps that do not move."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    for point in [*found["still"], *found["points"]]:
        where = [point.get("direction", ""), point.get("size", 0.0), point["source"], "on" if point["clamp"] else "off"]
        for name, cell in point["metrics"].items():
            writer.writerow([*where, name, *(cell[end] for end in ("value", "low", "high", "n"))])
    return file.getvalue()
