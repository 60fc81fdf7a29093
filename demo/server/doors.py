"""What comes in from browsers and programs is checked by its type first; what does not fit is a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bsoftmax.utils.text import quoted

LONGEST = 1000  # characters of a text that comes in
RULES = ConfigDict(strict=True, allow_inf_nan=False, str_max_length=LONGEST)
EXPECTED = {  # pydantic's kind of error: what was expected
    "string_type": "a text", "string_too_long": f"a text of at most {LONGEST:,} characters",
    "string_unicode": "a text without lone surrogates",
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "list_type": "a list", "dict_type": "a table",
    "model_type": "a table", "missing": "a value", "none_required": "nothing", "is_instance_of": "something else",
}  # fmt: skip

Chosen = str | Annotated[int, Field(ge=-(2**31), le=2**31)]  # a class by its name or number
M = TypeVar("M", bound="Incoming")


class Incoming(BaseModel):
    """The fields of a table that a browser sends; others are ignored."""

    model_config = RULES

    @classmethod
    def read(cls: type[M], payload: Any) -> M:
        """The table as this type. Raises ValueError with a sentence where a field is missing or of another type."""
        try:
            return cls.model_validate(payload)
        except (ValidationError, RecursionError) as error:
            words = _sentence(error, "")
        raise ValueError(words)


def checked(kinds: Mapping[str, TypeAdapter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, each as its type. Raises ValueError with a sentence for the first that does not fit."""
    out, words = dict(values), ""
    for name, kind in kinds.items():
        try:
            out[name] = kind.validate_python(values[name]) if name in values else out.get(name)
        except (ValidationError, RecursionError) as error:
            words = words or _sentence(error, name)
    if words:
        raise ValueError(words)
    return out


def kind_of(hint: Any) -> TypeAdapter:
    """What checks values of a type; texts may have LONGEST characters, numbers must be finite."""
    return TypeAdapter(hint, config=None if isinstance(hint, type) and issubclass(hint, BaseModel) else RULES)


def index_of(value: Any, items: Sequence[Any]) -> int:
    """A place in a list that a browser names. Raises ValueError with a sentence for another."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(items):
        raise ValueError(f"There is no picture {quoted(value)} here any more: choose another.")
    return value


def _sentence(error: Exception, name: str) -> str:
    """What was expected and what was got, of the first field that does not fit."""
    if not isinstance(error, ValidationError):
        return f"Expected a plain value for {name or 'the request'}, got one nested too deeply: send it again."
    found = error.errors(include_url=False, include_context=True)
    same = [e for e in found if e["loc"][:1] == found[0]["loc"][:1]]  # every type that a field may have
    words = " or ".join(dict.fromkeys(_expected(e) for e in same))
    field = name or ".".join(str(part) for part in found[0]["loc"] if not str(part).startswith(("int", "str")))
    got = "nothing" if found[0]["type"] == "missing" else quoted(found[0]["input"])
    return f"Expected {words} for {field.replace('_', ' ') or 'the request'}, got {got}: choose or write it again."


def _expected(error: Any) -> str:
    limits = error.get("ctx", {})
    if {"ge", "le"} & limits.keys():
        return f"a number of {'at least' if 'ge' in limits else 'at most'} {limits.get('ge', limits.get('le')):,g}"
    return EXPECTED.get(error["type"], "another type")
