"""Where people's input meets the server: pictures as paths, errors as sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def sentences(handler: Callable) -> Callable:
    """Turns a handler's ValueErrors and OSErrors, whose messages are written for people, into a notice on the page."""

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    return guarded
