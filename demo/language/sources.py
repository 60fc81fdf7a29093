"""The page's HTML, JavaScript and CSS in another language, and the messages in them.

HTML: what stands in the outermost element that has words of its own is one message, with the elements inside; so are
aria-label, title, placeholder and alt. JavaScript: the text of every `_('...')`. CSS: the words of `content: "..."`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate

Say = Callable[[str], str]
CALL = re.compile(r"(?<![\w$.])_\(\s*'((?:[^'\\\n]|\\.)+)'")
ATTRIBUTE = re.compile(r'\b(aria-label|title|placeholder|alt)="([^"]+)"')
CONTENT = re.compile(r'(content: ")([^"]*[a-z]{2}[^"]*?)( ?")')
WORD = re.compile(r"[^\W\d_]{2}")
VOID = ("input", "br", "img", "hr", "meta", "link", "source")


@dataclass
class _Element:
    tag: str
    start: int  # of what stands in it
    end: int = 0
    words: bool = False  # of its own
    children: list[_Element] = field(default_factory=list)


class _Tree(HTMLParser):
    """The elements of some HTML with the places of their contents."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._lines = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
        self.root = _Element("", 0, len(source))
        self._open = [self.root]
        self.feed(source)
        self.close()

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self._open.append(_Element(tag, self._at() + len(self.get_starttag_text() or "")))
            self._open[-2].children.append(self._open[-1])

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """An element without content."""

    def handle_endtag(self, tag: str) -> None:
        self._open.pop().end = self._at()

    def handle_data(self, data: str) -> None:
        self._open[-1].words |= bool(data.strip())


def _spoken(element: _Element, source: str) -> Iterator[_Element]:
    """The outermost elements that have words of their own."""
    if element.words and WORD.search(re.sub(r"<[^>]*>", "", source[element.start : element.end])):
        yield element
    else:
        for child in element.children:
            yield from _spoken(child, source)


def _message(element: _Element, source: str) -> str:
    text = source[element.start : element.end]
    return text if element.tag == "pre" else " ".join(text.split())


def html_messages(source: str) -> list[str]:
    """The messages of some HTML."""
    found = [_message(element, source) for element in _spoken(_Tree(source).root, source)]
    return [*found, *(match[2] for match in ATTRIBUTE.finditer(source) if WORD.search(match[2]))]


def html(source: str, say: Say) -> str:
    """HTML with its messages in another language."""
    parts, at = [], 0
    for element in _spoken(_Tree(source).root, source):
        parts += [source[at : element.start], say(_message(element, source))]
        at = element.end
    return ATTRIBUTE.sub(lambda match: f'{match[1]}="{say(match[2])}"', "".join([*parts, source[at:]]))


def script_messages(source: str) -> list[str]:
    """The messages of some JavaScript."""
    return [_literal(match[1]) for match in CALL.finditer(source)]


def script(source: str, say: Say) -> str:
    """JavaScript with its messages in another language."""
    return CALL.sub(lambda match: f"_({json.dumps(say(_literal(match[1])), ensure_ascii=False)}", source)


def _literal(text: str) -> str:
    return text.replace("\\'", "'")


def style_messages(source: str) -> list[str]:
    """The messages of a style sheet."""
    return [match[2] for match in CONTENT.finditer(source)]


def style(source: str, say: Say) -> str:
    """A style sheet with its messages in another language."""
    return CONTENT.sub(lambda match: f"{match[1]}{say(match[2])}{match[3]}", source)
