"""The tour of Compare, the story of the paper's Fig. 1, the teacher's mode: a script that is fetched when asked for."""

from __future__ import annotations

import json
from functools import partial

from ..components.canvas import STATIC
from ..components.files import bytes_to_cache
from ..language import sources
from ..language.catalogue import LANGUAGES, translated


def scripts() -> dict[str, str]:
    """{language: the path of the script in it, in Gradio's cache}."""
    css, js = ((STATIC / "tour" / f"tour.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    style = f"const css = {json.dumps(css)};\n"
    spoken = {tag: style + sources.script(js, partial(translated, language=tag)) for tag in LANGUAGES}
    return {tag: bytes_to_cache("tour.js", text.encode()) for tag, text in spoken.items()}
