"""Whose language a sentence is in: the first of the browser's that the page has, or what the address asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from gettext import NullTranslations

from gradio.context import LocalContext

from . import catalogue
from .catalogue import DEFAULT, LANGUAGES

PARAMETER = "lang"  # of the page's address: ?lang=ko
LONGEST = 200  # letters of a header
_chosen: ContextVar[str | None] = ContextVar("language", default=None)


def language_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The language of a request: what its address says, else what its browser prefers, else English."""
    asked = query.get(PARAMETER)
    return asked if asked in LANGUAGES else preferred((headers.get("accept-language") or "")[:LONGEST])


@lru_cache(maxsize=256)
def preferred(header: str) -> str:
    """The language of an Accept-Language header that ranks highest among those of the page."""
    ranked = sorted(map(_weighed, header.split(",")), key=lambda entry: -entry[0])
    return next((tag for weight, tag in ranked if weight > 0 and tag in LANGUAGES), DEFAULT)


def _weighed(entry: str) -> tuple[float, str]:
    """(0.8, "ko") of "ko-KR;q=0.8"."""
    tag, _, rest = entry.strip().partition(";")
    try:
        weight = float(rest.strip().removeprefix("q=") or 1)
    except ValueError:
        weight = 0.0
    return weight, tag.partition("-")[0].lower()


def current() -> str:
    """The language of the visitor whose event this thread handles; English outside of events."""
    chosen, request = _chosen.get(), LocalContext.request.get(None)
    if chosen or request is None:
        return chosen or DEFAULT
    return language_of(request.headers, request.query_params)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Sentences within are in this language, whoever has asked: files to download are in English."""
    token = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(token)


def translated(text: str) -> str:
    """A sentence of the library in the visitor's language, where the catalogue has it or its template."""
    return catalogue.translated(text, current())


class OfVisitors(NullTranslations):
    """Translates each sentence for the visitor whose event the calling thread handles."""

    def gettext(self, message: str) -> str:
        """In the visitor's language."""
        return catalogue.translations(current()).gettext(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """The form for n in the visitor's language."""
        return catalogue.translations(current()).ngettext(msgid1, msgid2, n)
