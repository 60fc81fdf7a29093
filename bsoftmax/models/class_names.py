"""Names of classes: what else ImageNet calls them, and which class a name means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache

from timm.data.imagenet_info import ImageNetInfo

from ..utils.text import quoted, shortened
from .backbones import class_names
from .spec import LONGEST_NAME

SUGGESTED = 5  # names in an error message


def plain(name: str) -> str:
    """A name as it is compared: small letters, spaces for underscores."""
    return name.strip().lower().replace("_", " ")


@cache
def _imagenet() -> dict[str, tuple[str, ...]]:
    """The other names of every class of ImageNet-1K, by its plain name."""
    info, out = ImageNetInfo(), {}
    for k, name in enumerate(class_names(1000, native=True)):
        others = [other.strip() for other in info.index_to_description(k).split(",")]
        out[plain(name)] = tuple(other for other in others if plain(other) != plain(name))
    return out


@lru_cache(maxsize=32)
def synonyms(classes: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The other names of every class: those of its WordNet synset, where all classes are ImageNet's; else none.

    One name that ImageNet lacks makes them another data set's, whose jaguars may be cars.
    """
    known = _imagenet()
    if not all(plain(name) in known for name in classes):
        return ((),) * len(classes)
    return tuple(known[plain(name)] for name in classes)


@lru_cache(maxsize=32)
def _meanings(classes: tuple[str, ...]) -> dict[str, list[int]]:
    """The classes of every plain name: those that are called so, else those that have it as a synonym."""
    called: dict[str, list[int]] = {}
    also: dict[str, list[int]] = {}
    for k, (name, others) in enumerate(zip(classes, synonyms(classes))):
        called.setdefault(plain(name), []).append(k)
        for other in {plain(other) for other in others}:
            also.setdefault(other, []).append(k)
    return also | {name: places[:1] for name, places in called.items()}


@lru_cache(maxsize=32)
def known_names(classes: tuple[str, ...]) -> dict[str, int]:
    """The class of every name that means one class alone: its own, plain, a synonym, or a WordNet ID."""
    number = {name: places[0] for name, places in _meanings(classes).items() if len(places) == 1}
    counts = Counter(map(plain, classes))
    number = {name: k for name, k in number.items() if counts[name] < 2}
    if classes == class_names(len(classes), native=True):
        info = ImageNetInfo()
        number |= {info.index_to_label_name(k): k for k in range(len(classes))}
    return number | {name: k for k, name in enumerate(classes)}


def find_class(classes: tuple[str, ...], wanted: str | int) -> int:
    """The place of a class given by number, by name, or by a synonym that only one of the classes has.

    Raises ValueError for an unknown name, with similar ones, and for a synonym of several classes, with those.
    """
    text = str(wanted).strip()[: 2 * LONGEST_NAME]
    if text.isdecimal() and len(text) < 10 and int(text) < len(classes):
        return int(text)
    if text in classes:
        return classes.index(text)
    meant = _meanings(classes).get(plain(text), [])
    if len(meant) == 1:
        return meant[0]
    if meant:
        several = ", ".join(shortened(classes[k], 40) for k in meant[:SUGGESTED])
        raise ValueError(f"{quoted(text)} is another name of {len(meant)} classes; choose one of: {several}.")
    some = _similar(plain(text), classes, synonyms(classes)) or classes[:SUGGESTED]
    raise ValueError(
        f"This model has no class {quoted(text)} among its {len(classes)}; some are: "
        f"{', '.join(shortened(c, 40) for c in some)}."
    )


def _similar(text: str, classes: Sequence[str], others: Sequence[Sequence[str]]) -> list[str]:
    """Classes with a name that contains the text."""
    if not text:
        return []
    return [c for c, more in zip(classes, others) if any(text in plain(name) for name in (c, *more))][:SUGGESTED]
