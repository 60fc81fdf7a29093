"""The metadata of a checkpoint: how to rebuild the model, and how its parts were trained."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..utils.text import printable, quoted
from . import checkpoints
from .backbones import Preprocessing

MIN_SIZE, MAX_SIZE = 8, 1024  # pixels
MAX_CLASSES = 25_000
MAX_STRIDE = 64
LONGEST_NAME = 500  # characters of a class, a layer, a trunk
LARGEST = 1e6  # of a mean or a standard deviation, whose smallest is the inverse
MODULE = "module"  # the origin of a trunk that a caller brought
PARTS = 10  # entries of `origin`
SLIDERS = ("flip", "uniform", "delta")  # of the Distort panel, by the name of their part of a Distortion


@dataclass(frozen=True)
class Spec:
    """What is needed to rebuild a model, and how its parts were trained."""

    trunk: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    layer: str
    stride: int | None = None
    # of "trunk" and "softmax": "hub", or "file" when the checkpoint contains them
    origin: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # of each part: recipe, data, command
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_metadata(cls, meta: dict[str, Any]) -> Spec:
        """Inverse of `asdict`. Raises CheckpointError when a field is missing or invalid."""
        values = {}
        for name, (check, expected) in _FIELDS.items():
            if name not in meta and name not in _OPTIONAL:
                raise _wrong(name, expected, "nothing")
            if name in meta:
                values[name] = _checked(name, meta[name], check, expected)
        return cls(**values)


def breaking_points(metrics: dict[str, Any]) -> dict[str, float]:
    """Where a checkpoint says that its boxes break, by slider, and of how many `images`; {} where these are no numbers.

    Anybody can write a checkpoint.
    """
    found = metrics.get("breaking")
    if not isinstance(found, dict) or not _is_amount(found.get("images")):
        return {}
    return {name: float(found[name]) for name in (*SLIDERS, "images") if _is_amount(found.get(name))}


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LARGEST


def _checked(name: str, value: Any, check: Callable[[Any], Any], expected: str) -> Any:
    try:
        return check(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        found = f"{len(value):,} of them" if name == "classes" and isinstance(value, list) else quoted(value)
        raise _wrong(name, expected, found) from None


def _wrong(name: str, expected: str, found: str) -> checkpoints.CheckpointError:
    return checkpoints.CheckpointError(
        f"The checkpoint's description says of {name}: {found}; expected {expected}: save it again."
    )


def _need(holds: bool) -> None:
    if not holds:
        raise ValueError


def _name(value: Any) -> str:
    """A name to be shown: control characters replaced, lone surrogates refused."""
    _need(isinstance(value, str) and 0 < len(value) <= LONGEST_NAME)
    _need(not any(unicodedata.category(c) == "Cs" for c in value))
    return printable(value)


def _names(value: Any) -> tuple[str, ...]:
    _need(isinstance(value, list) and 2 <= len(value) <= MAX_CLASSES)
    return tuple(map(_name, value))


def _whole(value: Any, low: int, high: int) -> int:
    _need(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
    return int(value)


def _three(value: Any, low: float) -> tuple[float, float, float]:
    _need(isinstance(value, (list, tuple)) and len(value) == 3)
    for x in value:
        _need(isinstance(x, (int, float)) and not isinstance(x, bool) and low <= x <= LARGEST and math.isfinite(x))
    return float(value[0]), float(value[1]), float(value[2])


def _preprocessing(value: Any) -> Preprocessing:
    _need(isinstance(value, dict))
    size = _whole(value["size"], MIN_SIZE, MAX_SIZE)
    return Preprocessing(size, _three(value["mean"], -LARGEST), _three(value["std"], 1 / LARGEST))


def _stride(value: Any) -> int | None:
    return None if value is None else _whole(value, 1, MAX_STRIDE)


def _origin(value: Any) -> dict[str, str]:
    _need(isinstance(value, dict) and len(value) <= PARTS)
    return {_name(part): _name(where) for part, where in value.items()}


def _table(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict))
    return dict(value)


_FIELDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "trunk": (_name, f"a name of at most {LONGEST_NAME} characters"),
    "classes": (
        _names, f"2 to {MAX_CLASSES:,} class names, each a text of 1 to {LONGEST_NAME} characters"
    ),
    "preprocessing": (
        _preprocessing,
        f"a size of {MIN_SIZE} to {MAX_SIZE} px, and three numbers each for mean and std, the latter above 0"
    ),
    "layer": (_name, f"a name of at most {LONGEST_NAME} characters"),
    "stride": (_stride, f"null or a whole number from 1 to {MAX_STRIDE}"),
    "origin": (_origin, "a table of names"),
    "training": (_table, "a table"),
    "metrics": (_table, "a table"),
}  # fmt: skip
_OPTIONAL = ("stride", "origin", "training", "metrics")
