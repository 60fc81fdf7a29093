"""The page as a visitor's browser gets it: Gradio's description of it, with every text in the visitor's language.

Components are made once, for everybody, with English texts; an English browser gets nothing that it does not need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import sources
from .catalogue import DEFAULT, translated, translations
from .visitor import PARAMETER, language_of

Say = Callable[[str], str]
PAGES = ("/", "/config", "/config/")
CONFIG = re.compile(r"(window\.gradio_config = )(.*?)(;</script>)", re.DOTALL)
ESCAPED = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&'"})  # in JSON within a script
TEXTS = ("label", "info", "placeholder", "alt_text", "title", "x_title", "y_title")  # properties that are shown
SOURCES = {"html_template": sources.html, "js_on_load": sources.script, "css_template": sources.style}
SHOWN = (  # what is shown of the values of our own components and of galleries
    "text", "title", "subtitle", "caption", "label", "note", "items", "head", "rows", "columns", "bars_label",
    "score_text", "found_text",
)  # fmt: skip
LINE = re.compile(r"((?:- |#+ )?)(.*)")  # of Markdown


def in_language(config: dict[str, Any], language: str) -> dict[str, Any]:
    """Gradio's description of the page with its components' texts in a language."""
    say, named = partial(translated, language=language), translations(language).gettext
    for component in config["components"]:
        props = component["props"]
        _speak(component["type"], props, say)
        if props.get("choices"):  # [shown, value]
            props["choices"] = [[named(str(shown)), value] for shown, value in props["choices"]]
    return config


def _speak(kind: str, props: dict[str, Any], say: Say) -> None:
    for name in TEXTS:
        if isinstance(props.get(name), str):
            props[name] = say(props[name])
    for name, rewritten in SOURCES.items():
        if isinstance(props.get(name), str):
            props[name] = rewritten(props[name], say)
    if kind in VALUES:
        props["value"] = VALUES[kind](props.get("value"), say)


def _markdown(value: str, say: Say) -> str:
    """Markdown as a whole, or paragraph by paragraph, or line by line, as the catalogue has it."""
    for between in ("\n\n", "\n"):
        if (whole := say(value)) != value:
            return whole
        if between in value:
            return between.join(_markdown(part, say) for part in value.split(between))
    return LINE.sub(lambda line: line[1] + say(line[2]), value, count=1)


def _html(value: Any, say: Say) -> Any:
    return sources.html(value, say) if isinstance(value, str) else _spoken(value, say)


def _spoken(value: Any, say: Say, shown: bool = False) -> Any:
    """A value with its texts translated; `shown`: whether its strings are such."""
    if isinstance(value, dict):
        return {name: _spoken(inner, say, name in SHOWN) for name, inner in value.items()}
    if isinstance(value, list):
        return [_spoken(inner, say, shown) for inner in value]
    return say(value) if shown and isinstance(value, str) else value


VALUES: dict[str, Callable[[Any, Say], Any]] = {  # kinds of components whose value is shown
    "button": partial(_spoken, shown=True), "markdown": _markdown, "html": _html, "gallery": _spoken,
}  # fmt: skip


@lru_cache(maxsize=8)
def _config(described: str, language: str) -> str:
    return json.dumps(in_language(json.loads(described), language), ensure_ascii=False, separators=(",", ":"))


def _page(text: str, language: str, asked: bool) -> str:
    """The HTML of the page; `asked`: by its address, which the browser's own settings then give way to."""
    if language != DEFAULT:
        spoken = lambda match: match[1] + _config(match[2], language).translate(ESCAPED) + match[3]  # noqa: E731
        text = CONFIG.sub(spoken, text, count=1).replace('lang="en"', f'lang="{language}"', 1)
    if asked:
        own = f'<script>Object.defineProperty(navigator, "language", {{ value: "{language}" }});</script>'
        text = text.replace("<head>", f"<head>{own}", 1)
    return text


class InLanguage:
    """Answers with the page in the visitor's language; every other answer passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Collects the page before it is sent."""
        if scope["type"] != "http" or scope["method"] != "GET" or _path(scope) not in PAGES:
            return await self.app(scope, receive, send)
        send, query = _varying(send), QueryParams(scope["query_string"])
        language = language_of(Headers(scope=scope), query)
        html, asked = _path(scope) == "/", PARAMETER in query
        if language == DEFAULT and not (html and asked):
            return await self.app(scope, receive, send)
        rewritten = partial(_page, language=language, asked=asked) if html else partial(_config, language=language)
        return await self.app(scope, receive, _Rewriting(send, rewritten))


def _varying(send: Send) -> Send:
    """Tells caches between here and the browser that another language is another answer."""

    async def varying(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(raw=message["headers"]).add_vary_header("Accept-Language")
        await send(message)

    return varying


class _Rewriting:
    """Sends an answer that has succeeded as a function of its whole body."""

    def __init__(self, send: Send, rewritten: Callable[[str], str]) -> None:
        self._send, self._rewritten = send, rewritten
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body
        if self._start["status"] == 200:
            body = (await run_in_threadpool(self._rewritten, body.decode())).encode()
        headers = MutableHeaders(raw=self._start["headers"])
        headers["content-length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})


def _path(scope: Scope) -> str:
    return str(scope["path"].removeprefix(scope.get("root_path", "")) or "/")
