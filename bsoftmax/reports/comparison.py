"""Two result files compared: their protocols, and every number that both have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..evaluation import aggregate, localization, results, statistics
from ..evaluation.aggregate import Entry
from ..evaluation.column import Column
from ..evaluation.results import Cell
from . import text

IGNORED = ("data.source", "command", "n", "asked", "complete")  # not part of the protocol


def open_results(path: Path) -> tuple[dict[str, Any], Path]:
    """A results.json, named itself or by its folder, and the folder. Raises ValueError for any other file."""
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

    Paired over images where both have their records beside them and these name the same images, else with each file's
    own interval. Raises ValueError for other images (unless `anyway`), or files that share no column.
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
    records_a, records_b = _open_records(a, at), _open_records(b, bt)
    pair = (records_a, records_b) if records_a and records_b and records_a.names == records_b.names else None
    rows = [row for key in both for row in _rows(key, a, b, pair)]
    how = (
        "paired over images, 95 %; by chance about one in twenty leaves out 0"
        if pair
        else "not paired: each with its own interval"
    )
    heads = ["column", "metric", "A", "B", "B - A", "interval of the difference"]
    parts = [f"B - A, {how}.", text.rows_markdown(heads, rows)]
    return "\n\n".join([*_differences(a, b), *parts])


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The lines of the protocol that differ."""
    first, second = (dict(text.protocol_lines(found)) for found in (a, b))
    lines = [
        f"- {name}: {first.get(name, 'not said')} / {second.get(name, 'not said')}"
        for name in dict.fromkeys([*first, *second])
        if name not in IGNORED and first.get(name) != second.get(name)
    ]
    return ["Different in A / B:\n" + "\n".join(lines)] if lines else []


class _Records:
    """The records beside a result file."""

    def __init__(self, found: dict[str, Any], read: results.Read) -> None:
        self.read, self.arrays = read, aggregate.load(read(), found["asked"])
        self.rule = localization.protocol(found["protocol"]["places"]["name"])

    @property
    def names(self) -> list[str]:
        """The measured images."""
        return [self.arrays.names[n] for n in sorted(self.arrays.names)]

    def cells(self, column: dict[str, Any]) -> dict[str, Cell]:
        entry = Entry(Column(column["method"], column["source"], column["clamp"]), column["look"], column["place"])
        return results.cells(self.arrays, self.read, entry, self.rule, 0, statistics.ROUNDS)


def _open_records(found: dict[str, Any], folder: Path) -> _Records | None:
    header = aggregate.read_header(folder)
    if not header:
        return None
    records = _Records(found, lambda: aggregate.read(folder, header["key"]))
    return records if len(records.names) == found["n"] else None


def _rows(
    key: str, a: dict[str, Any], b: dict[str, Any], records: tuple[_Records, _Records] | None
) -> Iterator[list[str]]:
    """One row a metric that both have."""
    first, second = (next(c for c in found["columns"] if c["key"] == key) for found in (a, b))
    cells = (records[0].cells(first), records[1].cells(second)) if records else ({}, {})
    for name in (name for name in first["metrics"] if name in second["metrics"]):
        mine, theirs = first["metrics"][name], second["metrics"][name]
        paired = ""
        if name in cells[0] and name in cells[1] and cells[0][name].estimate.n == cells[1][name].estimate.n:
            found = cells[1][name].minus(cells[0][name]).json()
            paired = f"[{found['low']:+.2f}, {found['high']:+.2f}]"
        values = [text.interval_of(cell) for cell in (mine, theirs)]
        difference = f"{theirs['value'] - mine['value']:+.2f}"
        yield [text.escape_markdown(key), text.title(name), *values, difference, paired]
