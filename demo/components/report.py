"""A report of sentences, lists, tables and a bar. Its strings may come from anybody and are shown as text only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradio.data_classes import GradioModel

from .canvas import Scripted

Block = dict[str, Any]


class ReportData(GradioModel):
    """Blocks from top to bottom; `model`: the token of the model they describe."""

    blocks: list[dict]
    model: str | None = None


class Report(Scripted):
    """Draws a ReportData."""

    data_model = ReportData
    name = "components/report"
    scripts = ("components/dom.js", "components/report.js")


def text(words: str, tone: str = "plain") -> Block:
    """A sentence; tone: plain, quiet, strong, now (read aloud when it changes) or error."""
    return {"kind": "text", "text": words, "tone": tone}


def title(words: str) -> Block:
    """A heading over the blocks that follow."""
    return {"kind": "title", "text": words}


def listed(title: str, items: Sequence[str], folded: bool = False) -> Block:
    """A list under a title; `folded`: opened by clicking it."""
    return {"kind": "more" if folded else "list", "title": title, "items": list(items)}


def bar(label: str, done: float, total: float, words: str) -> Block:
    """A progress bar; a total of 0: unknown."""
    return {"kind": "bar", "label": label, "done": done, "total": total, "text": words}


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], heat: Sequence[Sequence[float]] | None = None
) -> Block:
    """Rows under a head, the first cell of each naming it; `heat` in [0,1] colours the others.

    A cell is its text, or {"text", "span": an interval to draw, "best": whether it is bold}.
    """
    return {"kind": "table", "caption": caption, "head": list(head), "rows": [list(r) for r in rows], "heat": heat}
