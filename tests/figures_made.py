"""The rows of a figure as tests draw them, and the words found in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bsoftmax.images.figures import Panel, Row

RNG = np.random.default_rng(3)
PHOTO = Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
POSITIVE, MIXED = np.eye(7), np.linspace(-2, 5, 49).reshape(7, 7)


def row(*maps, image=PHOTO, label="lion", titles=("softmax", "sigmoid", "log-odds", "more", "most"), **more):
    return Row(image, label, tuple(Panel(t, f"under {n}", S) for n, (t, S) in enumerate(zip(titles, maps))), **more)


def strings(fig):
    return [t.get_text() for t in fig.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


ODD = ["$x$", "a_b", "100 %", "<b>", r"\alpha", "$\\frac{", "^", "naïve", "ключ", "{}", "&amp;", "#", "~", "-5"]
