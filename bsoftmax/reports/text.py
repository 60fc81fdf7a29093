"""Names, numbers and intervals as text, and strings escaped for Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..cams.methods import METHODS
from ..cams.sources import SOURCES
from ..evaluation import metrics
from ..utils.language import gettext as _
from ..utils.text import printable

Results = Mapping[str, Any]
Numbers = Mapping[str, float]  # value, low, high, n
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$:])")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def title(name: str) -> str:
    """A metric's name for a heading; "own" where the source's own confidence is scored."""
    metric = metrics.find(name)
    arrow = {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
    return _(metric.title) + (_(" (own)") if name.endswith(".own") else "") + arrow


def metric_names(results: Results) -> list[str]:
    """The metrics that any column has, in the order of the registry."""
    found = {name for column in results["columns"] for name in column["metrics"]}
    return [name for name in metrics.names() if name in found]


def source_title(source: str, clamp: bool) -> str:
    """A source and its clamp, for a heading."""
    return _(SOURCES[source].title) + (_(", clamped") if clamp else "")


def column_labels(column: Mapping[str, Any]) -> list[str]:
    """Method, source and clamp of a column."""
    return [METHODS[column["method"]].label, SOURCES[column["source"]].title, "on" if column["clamp"] else "off"]


def escape_markdown(text: str) -> str:
    """A string for Markdown and the HTML in it, escaped, on one line."""
    return _MARKDOWN.sub(r"\\\1", printable(" ".join(text.split())))


def escape_latex(text: str) -> str:
    """A string for LaTeX, escaped, on one line."""
    return "".join(_LATEX.get(c, c) for c in printable(" ".join(text.split())))


def number(value: float, name: str, sign: str = "") -> str:
    """A metric's value with the digits that are worth reading: one of a percentage, else three."""
    return f"{value:{sign}.{1 if metrics.find(name).unit == '%' else 3}f}"


def interval(cell: Numbers, name: str, sign: str = "") -> str:
    """Value [low, high] with the digits of `number`."""
    low, high = (number(cell[end], name, sign) for end in ("low", "high"))
    return f"{number(cell['value'], name, sign)} [{low}, {high}]"


def interval_of(cell: Numbers, sign: str = "") -> str:
    """1.23 [0.45, 2.01]."""
    return f"{cell['value']:{sign}.2f} [{cell['low']:{sign}.2f}, {cell['high']:{sign}.2f}]"


def joined(words: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = words
    return _("{most} and {last}").format(most=", ".join(most), last=last) if most else last


def protocol_lines(results: Results) -> list[tuple[str, str]]:
    """Everything but the numbers: (name, value), nested names joined by dots."""
    lines = {key: results[key] for key in ("format", "complete", "n", "asked", "seed", "rounds") if key in results}
    lines |= {"unreadable": len(results["unreadable"]), "notes": results.get("notes", [])}
    lines |= {key: results[key] for key in ("data", "model", "protocol", "versions", "command") if key in results}
    return list(_flat("", lines))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, (list, tuple)):
        yield name, " ".join(map(str, value))
    else:
        yield name, str(value)


def rows_markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells must be escaped."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *rows])


def rows_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns of equal width, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)
