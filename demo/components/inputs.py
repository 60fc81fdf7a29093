"""Input widgets that pass raw values on, and decorators of event handlers."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

import gradio as gr

from bsoftmax.utils.language import gettext as _

from ..server import schemas
from ..server.lanes import begun
from ..server.operation import CALLS
from ..server.sentences import STUMBLED, sentence

LOG = logging.getLogger("bsoftmax")


class Photo(gr.Image):
    """Gradio's image input as a path to the uploaded file, which the library's own reader decodes.

    (The stock decoder shows 16-bit pictures near white, hides what alpha hides, and expands bombs.)
    """

    is_template = True  # the browser draws it as the stock image input

    def preprocess(self, payload: Any) -> str | None:
        """The path of the uploaded file, which gradio has checked to be inside its own folder."""
        return None if payload is None else payload.path


class Menu(gr.Dropdown):
    """A dropdown that passes any value on, so that the handler can answer with a better error."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """The value as it came."""
        return payload


def notice(words: str) -> gr.Error:
    """An error notice; the page would draw markup in its words, so there is none left in them."""
    return gr.Error(html.escape(words, quote=False), print_exception=False)


def visitor(request: gr.Request) -> str:
    """The browser session of a call. Raises ValueError for a call without one, which would share another's things."""
    if not isinstance(request.session_hash, str) or not request.session_hash:
        raise ValueError("This call belongs to no session: send a session_hash of your own with it, or use the page.")
    return request.session_hash


@contextmanager
def _as_sentence(said: list[str]) -> Iterator[None]:
    """Adds the sentence of an error to `said`, and lets go of the error with all that its frames hold."""
    try:
        yield
    except gr.Error:
        raise
    except (ValueError, OSError) as error:
        said.append(sentence(error))
    except Exception:
        LOG.exception("a handler failed")
        said.append(_(STUMBLED))


def error_notices(handler: Callable) -> Callable:
    """Checks a handler's arguments by their types, and turns its errors into error notices on the page."""
    check = _checks(handler)

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        said: list[str] = []
        with _as_sentence(said), CALLS.counted(handler.__name__), begun():
            return handler(*check(*args, **kwargs))
        raise notice(said[0])  # outside, as it would keep the error it is raised beside

    @functools.wraps(handler)
    def guarded_steps(*args: Any, **kwargs: Any) -> Any:
        said: list[str] = []
        with _as_sentence(said), CALLS.counted(handler.__name__):
            yield from handler(*check(*args, **kwargs))
        if said:
            raise notice(said[0])

    return guarded_steps if inspect.isgeneratorfunction(handler) else guarded


def _checks(handler: Callable) -> Callable[..., list[Any]]:
    """A function of a handler's arguments that returns them checked; what gradio itself hands over is not."""
    signature = inspect.signature(handler)

    @functools.cache
    def kinds() -> dict[str, Any]:  # at the first call: types may be imported after the handler is defined
        hints = get_type_hints(handler, include_extras=True)
        own = {name: hint for name, hint in hints.items() if name in signature.parameters}
        return {name: schemas.kind_of(hint) for name, hint in own.items() if not _of_gradio(hint)}

    def check(*args: Any, **kwargs: Any) -> list[Any]:
        bound = signature.bind(*args, **kwargs)
        given = schemas.checked({k: v for k, v in kinds().items() if k in bound.arguments}, bound.arguments)
        bound.arguments.update(given)
        bound.apply_defaults()
        return list(bound.arguments.values())

    return check


def _of_gradio(hint: Any) -> bool:
    parts = get_args(hint) or (hint,)  # of `gr.Request | None`
    return any(isinstance(part, type) and issubclass(part, (gr.Request, gr.EventData, gr.Progress)) for part in parts)


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


def endpoint(name: str | None) -> dict[str, Any]:
    """Keyword arguments of the page's own events, whose answers are for its widgets: programs have demo/api instead.

    A named one can be called by tests all the same, as page_<name>.
    """
    if name is None:
        return {"api_name": "page", "api_visibility": "private"}  # else its handler's name would be taken
    return {"api_name": f"page_{name}", "api_visibility": "undocumented"}
