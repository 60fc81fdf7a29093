"""Photographs to begin with, all from packages that the page needs anyway; each shows something of its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gradio as gr
import matplotlib
from PIL import Image

from bsoftmax.images.read import read_rgb

from ..components.files import bytes_to_cache
from ..server.session import fingerprint

HEIGHT = 448  # pixels of the two photographs side by side


@dataclass(frozen=True)
class Example:
    """A photograph: its name in links, a short title, and what reads its file."""

    name: str
    title: str
    read: Callable[[], bytes]


def _from_gradio(name: str, title: str) -> Example:
    return Example(name, title, lambda: Path(gr.get_image(name)).read_bytes())


def _from_matplotlib(name: str, title: str) -> Example:
    return Example(name, title, lambda: (Path(matplotlib.get_data_path()) / "sample_data" / name).read_bytes())


@cache
def _two_cats() -> bytes:
    """A cheetah and a lion side by side, equally high, as JPEG."""
    photographs = [read_rgb(gr.get_image(name)) for name in ("cheetah1.jpg", "lion.jpg")]
    parts = [photo.resize((round(photo.width * HEIGHT / photo.height), HEIGHT)) for photo in photographs]
    whole = Image.new("RGB", (sum(part.width for part in parts), HEIGHT))
    whole.paste(parts[0], (0, 0))
    whole.paste(parts[1], (parts[0].width, 0))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=92)
    return file.getvalue()


EXAMPLES = (
    _from_gradio("cheetah1.jpg", "One cheetah"),
    Example("two-cats.jpg", "Two cats: choose either", _two_cats),
    _from_gradio("cheetah.jpg", "Small in the picture"),
    _from_gradio("tower.jpg", "A tower of many names"),
    _from_matplotlib("grace_hopper.jpg", "The uniform is a class"),
    _from_gradio("groot.jpeg", "None of the classes"),
)
LINKED = (_from_gradio("lion.jpg", "A lion"),)  # in older links


@cache
def available() -> tuple[Example, ...]:
    """The examples whose files are there: some systems package matplotlib without its pictures."""
    return tuple(example for example in EXAMPLES if _readable(example))


def _readable(example: Example) -> bool:
    try:
        return bool(example.read())
    except OSError:
        return False


@cache
def names() -> dict[str, str]:
    """{fingerprint of the file: name} of every example, for links."""
    return {fingerprint(example.read()): example.name for example in (*available(), *LINKED)}


def path_of(name: str | None) -> str:
    """The path of an example in Gradio's cache, of the first where there is none of this name."""
    known = (*available(), *LINKED)
    example = next((example for example in known if example.name == name), known[0])
    return bytes_to_cache(example.name, example.read())
