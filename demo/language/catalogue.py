"""The catalogues of translations: LANGUAGE.po, in which the English sentence is the key."""

from __future__ import annotations

import io
import re
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT = "en"
FOLDER = Path(__file__).parent
LANGUAGES = {DEFAULT: "English", "ko": "한국어"}
FIELD = re.compile(r"\{(\w+)(?:[!:][^{}]*)?\}")  # of a template, with its format
LITERAL = 18  # letters that a template must have besides its fields to be recognised in a sentence
WORD = re.compile(r"[A-Za-z]{2}")
LONGEST = 1000  # letters of a sentence whose template is looked for
BEGIN = 4  # letters by which templates are looked up
NUMBERED = re.compile(r"(.*\D) ([-+\N{MINUS SIGN}]?[\d.,]+)", re.DOTALL)  # "logit 3.21"

Template = tuple[tuple[str, ...], re.Pattern[str], str]  # its literal parts, what fits it, the other language's


@cache
def catalogue(language: str) -> Catalog:
    """The entries of a language, as they are in its file."""
    with open(FOLDER / f"{language}.po", "rb") as file:
        return read_po(file, language)


@cache
def translations(language: str) -> NullTranslations:
    """What translates into a language."""
    if language == DEFAULT:
        return NullTranslations()
    file = io.BytesIO()
    write_mo(file, catalogue(language))
    file.seek(0)
    return GNUTranslations(file)


def translated(text: str, language: str) -> str:
    """A sentence that was made in English, in another language: by its own entry, or by the template that it fits.

    For the sentences of errors, of child processes, and of what the page begins with. Fields that are in the catalogue
    are translated as well; what is not in it stays as it is.
    """
    if language == DEFAULT or not WORD.search(text):
        return text
    known = translations(language).gettext(text)
    if known != text or len(text) > LONGEST:
        return known
    templates = _templates(language)
    for parts, fits, template in [*templates.get(text[:BEGIN], []), *templates.get("", [])]:
        if all(part in text for part in parts) and (match := fits.fullmatch(text)):
            return _filled(template, match, language)
    if numbered := NUMBERED.fullmatch(text):
        return f"{translated(numbered[1], language)} {numbered[2]}"
    if text.endswith("."):
        return text
    whole = translated(f"{text}.", language)  # a sentence within another has lost its full stop
    return text if whole == f"{text}." else whole.removesuffix(".")


def _filled(template: str, match: re.Match[str], language: str) -> str:
    return FIELD.sub(lambda field: translated(match[field[1]], language), template)


@cache
def _templates(language: str) -> dict[str, list[Template]]:
    """The templates by their first letters ("": those that begin with a field), the most definite first."""
    forms = [(m.id[1], m.string[0]) if m.pluralizable else (m.id, m.string) for m in catalogue(language) if m.id]
    entries = [form for form in forms if FIELD.search(form[0]) and len(FIELD.sub("", form[0])) >= LITERAL]
    found: dict[str, list[Template]] = {}
    for english, words in sorted(entries, key=lambda entry: -len(FIELD.sub("", entry[0]))):
        start = "" if "{" in english[:BEGIN] else english[:BEGIN]
        found.setdefault(start, []).append((tuple(FIELD.split(english)[::2]), pattern(english), str(words)))
    return found


def pattern(template: str) -> re.Pattern[str]:
    """What matches a filled template; a field that comes again must be the same."""
    seen: set[str] = set()

    def group(name: str) -> str:
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>.*?)"

    parts = FIELD.split(template)  # literal, name, literal, ...
    return re.compile("".join(group(p) if n % 2 else re.escape(p) for n, p in enumerate(parts)))
