"""Names of classes on the page, and the menu to choose one from."""

from __future__ import annotations

import json
from functools import lru_cache

from bsoftmax.models.class_names import plain, synonyms

from ..components.files import bytes_to_cache
from ..server.session import Analysis

TOP = 5  # classes before the alphabet
LONGEST = 64  # letters of an entry of the menu


def readable(name: str) -> str:
    """A class name without underscores."""
    return name.replace("_", " ")


def label(name: str, others: tuple[str, ...]) -> str:
    """A class name and, in brackets, as many of its other names as fit: the menu is searched in this text."""
    name = readable(name)
    kept: list[str] = []
    for other in others:
        if plain(other) not in plain(name) and len(f"{name} ({', '.join([*kept, other])})") <= LONGEST:
            kept.append(other)
    return f"{name} ({', '.join(kept)})" if kept else name


@lru_cache(maxsize=8)
def _alphabetical(classes: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """(label, number) of every class of a model, which are the same for every photograph."""
    labels = [label(*pair) for pair in zip(classes, synonyms(classes))]
    return tuple(sorted(((text, k) for k, text in enumerate(labels)), key=lambda entry: entry[0].lower()))


@lru_cache(maxsize=8)
def _listed(classes: tuple[str, ...]) -> bytes:
    return json.dumps({"names": [readable(name) for name in classes], "menu": _alphabetical(classes)}).encode()


def classes_file(classes: tuple[str, ...]) -> str:
    """The names of all classes and their menu as JSON, in Gradio's cache: a browser fetches them once for a model."""
    return bytes_to_cache("classes.json", _listed(classes))


def first_classes(analysis: Analysis) -> list[int]:
    """The numbers of the softmax head's first choices."""
    logits = analysis.logits["softmax"]
    return logits.topk(min(TOP, len(logits))).indices.tolist()  # type: ignore[no-any-return]


def ranked_classes(analysis: Analysis) -> list[tuple[str, int]]:
    """(label, number) of every class, the softmax head's first choices first, then by the alphabet."""
    top, entries = first_classes(analysis), _alphabetical(analysis.model.classes)
    first = {k: text for text, k in entries if k in top}
    return [*((first[k], k) for k in top), *(entry for entry in entries if entry[1] not in top)]
