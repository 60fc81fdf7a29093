"""State shared by all requests: opened models, and the last photographs with their features."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from bsoftmax import METHODS, SOURCES, DualBranch, View, open_model
from bsoftmax.cams import unavailable
from bsoftmax.cams.methods import takes_seconds
from bsoftmax.images.read import read_rgb
from bsoftmax.models import zoo
from bsoftmax.utils.text import quoted

from .gpu import masked_vectors
from .lanes import SlowLane, Turns
from .ownership import Ownership, current_session
from .trunks import TrunkLane
from .user_models import UserModels, is_user_model

SHOWN_SIDE = 1024  # pixels of a photograph's longer side, for showing and exporting
MAX_ANALYSES = 48  # photographs whose features are kept (about 5 MB each with the picture itself)
MAX_ANALYSED_BYTES = 256e6  # of all these together: some networks have large features
MAX_PHOTOGRAPHS = 10_000  # whose place on the disk is known, so that they can be analysed again
DECODED = 2  # photographs at once: each takes memory for all its pixels
QUICK = 2  # quick computations at once; more would only take turns, at Python's lock as at the processor
REDRAWN = 4  # distortions at once
MAX_MODELS = 4  # open at once

T = TypeVar("T")


def fingerprint(data: bytes) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(data).hexdigest()


def jpeg(image: Image.Image) -> bytes:
    """A picture as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


@dataclass(frozen=True)
class Analysis:
    """One photograph under one model: the trunk has run once, everything else is computed from `view`."""

    key: str
    fingerprint: str
    model_name: str
    image: Image.Image
    view: View
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False)
    label: str = ""  # shown instead of the model's name, where that is a token

    @cached_property
    def jpeg(self) -> bytes:
        """The photograph as browsers get it."""
        return jpeg(self.image)

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        return 3 * self.image.width * self.image.height + self.view.nbytes

    @cached_property
    def logits(self) -> dict[str, Tensor]:
        """The answer [C] of each classifier, by branch."""
        branches = ("softmax",) if self.model.sigmoid is None else ("softmax", "sigmoid")
        return {branch: self.view.logits(branch)[0] for branch in branches}

    @property
    def model(self) -> DualBranch:
        """The model that analysed it."""
        return self.view.model

    @property
    def title(self) -> str:
        """The model's name as shown."""
        return self.label or self.model_name

    @property
    def sources(self) -> list[str]:
        """The sources this model can answer for: without a branch, all that need none."""
        return [key for key, s in SOURCES.items() if s.branch == "softmax" or self.model.sigmoid is not None]

    @property
    def methods(self) -> list[str]:
        """The methods that this model allows, of those that are installed."""
        return list(filter(self.allows, METHODS))

    def allows(self, method: str | None) -> bool:
        """Whether a method is one of these."""
        return method in METHODS and unavailable(self.model, method) is None

    def takes_seconds(self, method: str) -> bool:
        """Whether a method runs the trunk again, or a deep head, and has not done so yet. False for an unknown one."""
        if method not in METHODS or self.view.has(METHODS[method].shares):
            return False
        return takes_seconds(self.model, method)

    def guard(self, method: str) -> AbstractContextManager[Any]:
        """What keeps threads from computing the same quick maps at once; slow ones have a lane, and block nobody."""
        return nullcontext() if self.takes_seconds(method) else self.lock

    @property
    def public(self) -> bool:
        """Whether a link may name the model."""
        return not is_user_model(self.model_name)


class Store:
    """The most recently used values, each made once even when several threads ask for it together.

    At most `size`, and at most `most` by the sum of what `weigh` says of each, but always the last.
    """

    def __init__(self, size: int, most: float = 0, weigh: Callable[[Any], float] = lambda value: 0) -> None:
        self._size, self._most, self._weigh = size, most, weigh
        self._values, self._lock = OrderedDict(), threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The value kept under `key`, or what `make()` returns."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            try:
                value = self.peek(key)
                return self._keep(key, make()) if value is None else value
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _keep(self, key: str, value: T) -> T:
        with self._lock:
            self._values[key] = value
            while len(self._values) > 1 and self._full():
                self._values.popitem(last=False)
        return value

    def _full(self) -> bool:
        return len(self._values) > self._size or sum(map(self._weigh, self._values.values())) > self._most

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
    """Models and analyses; neither changes once it is made."""

    def __init__(self, menu: Mapping[str, str | Path] | None = None) -> None:
        self._menu = menu  # name -> what opens it; None: all that the program finds
        self._models, self._lock = Store(MAX_MODELS), threading.Lock()
        self._analyses = Store(MAX_ANALYSES, MAX_ANALYSED_BYTES, lambda analysis: analysis.nbytes)
        self._photographs: OrderedDict[str, tuple[str, str]] = OrderedDict()  # key -> path and model
        self._users = Ownership(self._forget)
        self.user_models = UserModels(removed=lambda token: self._analyses.drop(f"{token}|"))
        self.trunks, self.slow, self.quick = TrunkLane(), SlowLane(), Turns(QUICK)
        self._decoding = Turns(DECODED)
        self.redraws = threading.BoundedSemaphore(REDRAWN)

    def model_names(self) -> list[str]:
        """The models in everybody's menu."""
        return zoo.names() if self._menu is None else list(self._menu)

    def model(self, name: str) -> DualBranch:
        """An open model, by its name or token. Raises ValueError (or a kind of it) when there is none."""
        if is_user_model(name):
            return self.user_models.get(name).model
        if (model := self._models.peek(name)) is not None:
            return model  # the menu is read from the disk
        if name not in self.model_names():
            raise ValueError(f"There is no model {quoted(name)}; choose one of {', '.join(self.model_names())}.")
        source = name if self._menu is None else self._menu[name]
        return self._models.get(name, lambda: open_model(source))

    def analysis(self, path: str | Path, model_name: str = zoo.DEFAULT) -> Analysis:
        """Reads a file and runs the trunk on it; a pair seen lately comes from the cache.

        Raises ImageError when the file is not a readable picture, ValueError when the model cannot be opened.
        """
        model = self.model(model_name)
        try:
            data = Path(path).read_bytes()
        except OSError:
            raise ValueError("That picture is no longer on the server: upload it again.") from None
        sha = fingerprint(data)
        key = f"{model_name}|{sha}"
        self._remember(key, str(path), model_name)
        self._users.use(key, current_session())

        def make() -> Analysis:
            with self._decoding:  # not among the quick computations: for their turn every photograph would wait twice
                image = read_rgb(data, SHOWN_SIDE)
                x = model.preprocess(image)
            label = self.user_models.get(model_name).label if is_user_model(model_name) else ""
            view = View(model, x, masked_vectors, self.trunks.features(model, x, current_session()))
            return Analysis(key, sha, model_name, image, view, label=label)

        return self._analyses.get(key, make)

    def cached_analysis(self, key: str) -> Analysis:
        """An analysis by its key; one that has left the cache is made again. Raises ValueError for an unknown key."""
        analysis = self._analyses.peek(key)
        if analysis is not None:
            return analysis
        if key not in self._photographs:
            raise ValueError("This picture is no longer on the server: choose it again.")
        return self.analysis(*self._photographs[key])

    def leave(self, owner: str) -> None:
        """Drops what a session alone used: its models, its photographs and their features, its slow computation."""
        self.trunks.leave(owner)
        self.slow.stop(owner)
        self.user_models.remove(owner)
        self._users.leave(owner)

    def _forget(self, key: str) -> None:
        self._analyses.drop(key)
        with self._lock:
            self._photographs.pop(key, None)

    def _remember(self, key: str, path: str, model_name: str) -> None:
        with self._lock:
            self._photographs[key] = path, model_name
            self._photographs.move_to_end(key)
            while len(self._photographs) > MAX_PHOTOGRAPHS:
                self._photographs.popitem(last=False)
