"""Names of classes on the page, and the menu to choose one from."""

from __future__ import annotations

from functools import lru_cache

from bsoftmax.models.class_names import plain, synonyms

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


def ranked_classes(analysis: Analysis) -> list[tuple[str, int]]:
    """(label, number) of every class, the softmax head's first choices first, then by the alphabet."""
    logits, entries = analysis.logits["softmax"], _alphabetical(analysis.model.classes)
    top = logits.topk(min(TOP, len(logits))).indices.tolist()
    first = {k: text for text, k in entries if k in top}
    return [*((first[k], k) for k in top), *(entry for entry in entries if entry[1] not in top)]
