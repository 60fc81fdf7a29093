"""Calls that name files by the addresses this server gave them, and those of a page whose server has ended."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from urllib.parse import unquote

from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..language.catalogue import translated
from ..language.visitor import language_of
from .run_folder import PREFIX

SENTENCE = (
    "The server that this page was opened on has ended, and what you had brought with it: load the page again, then "
    "bring your photograph or data set again."
)
CALLS = re.compile(r"/(queue/join|call/[^/]+|run/[^/]+)/?$")
FOLDERS = re.compile(PREFIX.encode() + rb"[\w-]+")
ADDRESSES = re.compile(rb'("path": ?")https?://[^"\s]+?/gradio_api/file=([^"\\\s?#]+)"')


class LostFiles:
    """Refuses calls that name files in another server's folder; Gradio would answer with their paths, or without words.

    They come after a restart, and from a proxy that moves visitors of a lost replica to another.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.own = app, Path(tempfile.gettempdir()).name.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads a call before Gradio does."""
        if scope["type"] != "http" or scope["method"] != "POST" or not CALLS.search(scope["path"]):
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        body = self.with_paths(body)
        if set(FOLDERS.findall(body)) - {self.own}:
            words = translated(SENTENCE, language_of(Headers(scope=scope), QueryParams(scope["query_string"])))
            return await JSONResponse({"detail": words, "error": words}, 409)(scope, receive, send)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        return await self.app(scope, again, send)

    def with_paths(self, body: bytes) -> bytes:
        """A call in which a file that this server gave out has its path again, where it has its address.

        Agents know files by their addresses only, and Gradio fetches nothing from a machine that is not public. Whether
        a path may be read is asked afterwards, of every path.
        """

        def path(found: re.Match[bytes]) -> bytes:
            name = unquote(found[2].decode())
            own = Path(name).is_relative_to(tempfile.gettempdir()) and name.isprintable() and not set(name) & set('"\\')
            return found[1] + name.encode() + b'"' if own else found[0]

        return ADDRESSES.sub(path, body)
