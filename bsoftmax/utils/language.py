"""The reader's language: sentences are English, unless the program around the library says how to translate them."""

from __future__ import annotations

from gettext import NullTranslations

_translations = NullTranslations()


def use(translations: NullTranslations) -> None:
    """Translates every sentence from now on by `translations`, which may look up at each call who reads it."""
    global _translations
    _translations = translations


def gettext(message: str) -> str:
    """A sentence, or a template of one with named fields, in the reader's language."""
    return _translations.gettext(message)


def ngettext(one: str, many: str, n: int) -> str:
    """The form of a sentence that the reader's language has for a number n."""
    return _translations.ngettext(one, many, n)
