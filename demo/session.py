"""What the server keeps between requests: opened models, and the last pictures with their features. No widgets here."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from bsoftmax import DualBranch, View, open_model, zoo
from bsoftmax.images import read_rgb

from .own import OwnModels, is_own

SHOWN_SIDE = 1024  # pixels kept of a picture's longer side, for showing and exporting
LOOKS = 24  # pictures whose features are kept (0.4 MB each for the bundled model, 1.6 MB for ResNet-50)
MODELS = 4  # models kept open

T = TypeVar("T")


def fingerprint(data: bytes) -> str:
    """What a file is known by: its SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Look:
    """One picture as one model saw it: the trunk has run, the rest is asked of `view`."""

    key: str
    fingerprint: str
    model_name: str
    image: Image.Image
    view: View
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False)
    label: str = ""  # what people call the model, where its name is a token

    @property
    def model(self) -> DualBranch:
        """The model that looked."""
        return self.view.model

    @property
    def title(self) -> str:
        """The model's name for people."""
        return self.label or self.model_name

    @property
    def public(self) -> bool:
        """Whether a link may name the model."""
        return not is_own(self.model_name)


class Store:
    """The most recently used values, each made once even when several threads ask for it together."""

    def __init__(self, size: int) -> None:
        self._size, self._values, self._lock = size, OrderedDict(), threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value kept under `key`, or what `make()` returns."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                self._making.pop(key, None)
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            return value

    def peek(self, key: str) -> Any | None:
        """The value kept under `key`, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def drop(self, prefix: str) -> None:
        """Removes every value whose key begins so."""
        with self._lock:
            for key in [key for key in self._values if key.startswith(prefix)]:
                del self._values[key]


class Session:
    """Models and looks, shared by all requests; nothing kept here changes once it is made."""

    def __init__(self) -> None:
        self._models, self._looks = Store(MODELS), Store(LOOKS)
        self.own = OwnModels(removed=lambda token: self._looks.drop(f"{token}|"))

    def model_names(self) -> list[str]:
        """What the model menu offers to everybody."""
        return zoo.names()

    def model(self, name: str) -> DualBranch:
        """An open model, by its name or its owner's token. Raises ValueError (or a kind of it) when it has none."""
        if is_own(name):
            return self.own.get(name).model
        if name not in self.model_names():
            raise ValueError(f"There is no model {name!r}; choose one of {', '.join(self.model_names())}.")
        return self._models.get(name, lambda: open_model(name))

    def look(self, path: str | Path, model_name: str = zoo.DEFAULT) -> Look:
        """The picture of a file as a model sees it; the trunk runs only for a new pair.

        Raises ImageError when the file is not a readable picture, ValueError when the model cannot be opened.
        """
        model = self.model(model_name)
        try:
            data = Path(path).read_bytes()
        except OSError:
            raise ValueError("That picture is no longer on the server: upload it again.") from None
        sha = fingerprint(data)
        key = f"{model_name}|{sha}"

        def make() -> Look:
            image = read_rgb(data, SHOWN_SIDE)
            label = self.own.get(model_name).label if is_own(model_name) else ""
            return Look(key, sha, model_name, image, View(model, model.preprocess(image)), label=label)

        return self._looks.get(key, make)

    def recall(self, key: str) -> Look:
        """A look by its key. Raises ValueError when it has made room for later ones."""
        look = self._looks.peek(key)
        if look is None:
            raise ValueError("This picture has left the server's memory: choose it again.")
        return look
