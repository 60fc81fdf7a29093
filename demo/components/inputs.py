"""Where people's input meets the server: pictures as paths, errors as sentences."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr


class Photo(gr.Image):
    """Gradio's image input, which hands on the uploaded file itself: the library's own reader decodes it.

    (The stock decoder shows 16-bit pictures near white, hides what alpha hides, and expands bombs.)
    """

    is_template = True  # the browser draws it as the stock image input

    def preprocess(self, payload: Any) -> str | None:
        """The path of the uploaded file, which gradio has checked to be inside its own folder."""
        return None if payload is None else payload.path


class Menu(gr.Dropdown):
    """A menu whose choices are for people: programs may name anything, and the handler says what it is not."""

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        """Whatever was named, as text."""
        return None if payload is None else str(payload)


@contextmanager
def _as_notice() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(str(error), print_exception=False) from error


def sentences(handler: Callable) -> Callable:
    """Turns a handler's ValueErrors and OSErrors, whose messages are written for people, into a notice on the page."""

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with _as_notice():
            return handler(*args, **kwargs)

    @functools.wraps(handler)
    def guarded_steps(*args: Any, **kwargs: Any) -> Any:
        with _as_notice():
            yield from handler(*args, **kwargs)

    return guarded_steps if inspect.isgeneratorfunction(handler) else guarded


def spread(handler: Callable, widgets: Mapping[str, Any]) -> Callable:
    """Lets a handler answer {name: value}: each value goes to the widget of that name, the others stay as they are."""

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


def named(api_name: str | None) -> dict[str, Any]:
    """What an event says of its endpoint: its name, or that it is for the page alone."""
    return {"api_name": api_name} if api_name else {"api_visibility": "private"}
