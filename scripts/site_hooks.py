"""What the documentation site shows otherwise than GitHub does; a hook of mkdocs.yml, called for every page."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["on_page_markdown"]

MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)  # drawn by a script that would have to be fetched
BOX = re.compile(r'^ *(\w+)\["<b>\w+</b><br/>(.*)"\]$', re.M)
ARROW = re.compile(r"^ *(\w+) --> (\w+)$", re.M)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Markdown within <details> is Markdown, and a flow chart is a table of its boxes and arrows."""
    return MERMAID.sub(lambda found: _table(found[1]), markdown.replace("<details>", '<details markdown="1">'))


def _table(chart: str) -> str:
    """A row for each box: its name, its words, where its arrows lead."""
    lead = {box: [end for start, end in ARROW.findall(chart) if start == box] for box, _ in BOX.findall(chart)}
    rows = [
        f"| `{box}` | {words.replace('<br/>', ' ')} | {', '.join(lead[box])} |" for box, words in BOX.findall(chart)
    ]
    return "\n".join(["| package | what is in it | may import |", "|---|---|---|", *rows])
