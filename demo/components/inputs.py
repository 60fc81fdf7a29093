"""Input widgets that pass raw values on, and decorators of event handlers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr


class Photo(gr.Image):
    """Gradio's image input as a path to the uploaded file, which the library's own reader decodes.

    (The stock decoder shows 16-bit pictures near white, hides what alpha hides, and expands bombs.)
    """

    is_template = True  # the browser draws it as the stock image input

    def preprocess(self, payload: Any) -> str | None:
        """The path of the uploaded file, which gradio has checked to be inside its own folder."""
        return None if payload is None else payload.path


class Menu(gr.Dropdown):
    """A dropdown that accepts any value, so that the handler can answer with a better error."""

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        """The value as text."""
        return None if payload is None else str(payload)


@contextmanager
def _as_notice() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error


def error_notices(handler: Callable) -> Callable:
    """Turns a handler's ValueErrors and OSErrors into error notices on the page."""

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with _as_notice():
            return handler(*args, **kwargs)

    @functools.wraps(handler)
    def guarded_steps(*args: Any, **kwargs: Any) -> Any:
        with _as_notice():
            yield from handler(*args, **kwargs)

    return guarded_steps if inspect.isgeneratorfunction(handler) else guarded


def named_outputs(handler: Callable, widgets: Mapping[str, Any]) -> Callable:
    """Lets a handler answer {name: value}: each value goes to the widget of that name, the others do not change."""

    def placed(values: Mapping[str, Any]) -> dict[Any, Any]:
        return {widgets[name]: value for name, value in values.items()}

    @functools.wraps(handler)
    def once(*args: Any, **kwargs: Any) -> Any:
        return placed(handler(*args, **kwargs))

    @functools.wraps(handler)
    def steps(*args: Any, **kwargs: Any) -> Any:
        answers = handler(*args, **kwargs)
        try:
            for values in answers:
                yield placed(values)
        finally:
            answers.close()

    return steps if inspect.isgeneratorfunction(handler) else once


def endpoint(api_name: str | None) -> dict[str, Any]:
    """Keyword arguments of an event listener: a named endpoint, or a private one."""
    return {"api_name": api_name} if api_name else {"api_visibility": "private"}
