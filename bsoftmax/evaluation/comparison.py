"""Two result files side by side: what differs in protocol, and in every number that both have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import aggregate, localization, results, statistics, tables
from .aggregate import Entry
from .column import Column
from .results import Cell

SILENT = ("data.source", "command", "n", "asked", "complete")  # differences that are no difference of protocol


def open_results(path: Path) -> tuple[dict[str, Any], Path]:
    """A results.json (or the folder it is in) and its folder. Raises ValueError when it is none of ours."""
    path = path / "results.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"There is no readable file {str(path)!r}: name a results.json or its folder.") from None
    except ValueError:
        raise ValueError(f"{path.name!r} is no JSON: name a results.json that evaluate wrote.") from None
    if not isinstance(found, dict) or found.get("format") != results.FORMAT:
        raise ValueError(f"{path.name!r} was not written by evaluate (expected the format {results.FORMAT!r}).")
    return found, path.parent


def compare(first: Path, second: Path, anyway: bool = False) -> str:
    """B - A of every column and metric that both have, as Markdown.

    Paired over images where the records of both lie beside them and name the same images, else with each file's own
    interval. Raises ValueError for other images (unless `anyway`), or files that share no column.
    """
    (a, at), (b, bt) = open_results(first), open_results(second)
    if a["data"]["fingerprint"] != b["data"]["fingerprint"] and not anyway:
        raise ValueError(
            f"The two were measured on different images ({a['data']['images']} and {b['data']['images']}, fingerprints "
            f"{a['data']['fingerprint'][:8]} and {b['data']['fingerprint'][:8]}): compare others, or add --anyway."
        )
    both = [c["key"] for c in a["columns"] if c["key"] in {d["key"] for d in b["columns"]}]
    if not both:
        raise ValueError("The two have no column in common: measure the same methods, sources and clamps.")
    sides = [_side(a, at), _side(b, bt)]
    paired = all(sides) and sides[0].names == sides[1].names
    rows = []
    for key in both:
        rows += _rows(key, a, b, sides if paired else None)
    how = "paired over images, 95 % bootstrap" if paired else "not paired: each with its own interval"
    heads = ["column", "metric", "A", "B", "B - A", "interval of the difference"]
    parts = [f"B - A, {how}.", tables.rows_markdown(heads, rows)]
    return "\n\n".join([*_differences(a, b), *parts])


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The lines of the protocol that are not the same."""
    said = [dict(tables.protocol_lines(found)) for found in (a, b)]
    lines = [
        f"- {what}: {said[0].get(what, 'not said')} / {said[1].get(what, 'not said')}"
        for what in dict.fromkeys([*said[0], *said[1]])
        if what not in SILENT and said[0].get(what) != said[1].get(what)
    ]
    return ["Different in A / B:\n" + "\n".join(lines)] if lines else []


class _Side:
    """The records beside a result file."""

    def __init__(self, found: dict[str, Any], read: results.Read) -> None:
        self.read, self.loaded = read, aggregate.load(read(), found["asked"])
        self.rule = localization.protocol(found["protocol"]["places"]["name"])

    @property
    def names(self) -> list[str]:
        """The images measured, by name."""
        return [self.loaded.names[n] for n in sorted(self.loaded.names)]

    def cells(self, column: dict[str, Any]) -> dict[str, Cell]:
        entry = Entry(Column(column["method"], column["source"], column["clamp"]), column["look"], column["place"])
        return results.cells(self.loaded, self.read, entry, self.rule, 0, statistics.ROUNDS)


def _side(found: dict[str, Any], folder: Path) -> _Side | None:
    head = aggregate.head_of(folder)
    if not head:
        return None
    side = _Side(found, lambda: aggregate.read(folder, head["key"]))
    return side if len(side.names) == found["n"] else None


def _rows(key: str, a: dict[str, Any], b: dict[str, Any], sides: list[_Side] | None) -> list[list[str]]:
    pair = [next(c for c in found["columns"] if c["key"] == key) for found in (a, b)]
    cells = [side.cells(column) for side, column in zip(sides, pair)] if sides else None
    rows = []
    for name, mine in pair[0]["metrics"].items():
        if name not in pair[1]["metrics"]:
            continue
        theirs = pair[1]["metrics"][name]
        apart, low_high = theirs["value"] - mine["value"], ""
        if cells and name in cells[0] and name in cells[1] and cells[0][name].n == cells[1][name].n:
            low, high = statistics.interval(cells[1][name].rounds - cells[0][name].rounds)
            low_high = f"[{low:+.2f}, {high:+.2f}]"
        shown = [tables.interval_of(cell) for cell in (mine, theirs)]
        rows.append([tables.escape_markdown(key), tables.title(name), *shown, f"{apart:+.2f}", low_high])
    return rows
