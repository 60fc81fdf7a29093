"""Models that visitors trained or opened: each behind a token nobody can guess, listed for one browser session."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bsoftmax import DualBranch

from .permissions import MAX_MILLION_PARAMETERS

Picture = tuple[str, str]  # a path and its caption
PREFIX = "own-"
MAX_MODELS = 6  # kept open, of all sessions together
MAX_IDLE_HOURS = 2.0  # kept after their last use


@dataclass(frozen=True)
class UserModel:
    """A model in one session's menu; with its validation pictures, where it was trained here."""

    token: str
    owner: str
    label: str
    model: DualBranch
    examples: tuple[Picture, ...] = ()
    differing: tuple[Picture, ...] = ()  # those its heads disagree on


def is_user_model(name: str) -> bool:
    """Whether a model's name is a token of this kind."""
    return name.startswith(PREFIX)


def load_checkpoint(path: str | Path) -> DualBranch:
    """Opens an uploaded checkpoint. Raises ValueError (or a kind of it) with a sentence."""
    return DualBranch.load(path, most=MAX_MILLION_PARAMETERS * 1e6)


class UserModels:
    """The most recently used user models; `removed` is called with the token of each that is dropped."""

    def __init__(self, removed: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._removed, self._clock, self._lock = removed, clock, threading.Lock()
        self._models: OrderedDict[str, tuple[float, UserModel]] = OrderedDict()  # the least recently used first
        self._last_trained: dict[str, str] = {}

    def add(
        self, owner: str, label: str, model: DualBranch, examples: Sequence[Picture] = (),
        differing: Sequence[Picture] = (),
    ) -> UserModel:  # fmt: skip
        """Stores a model for one session, under a new token."""
        token = PREFIX + secrets.token_urlsafe(16)
        user_model = UserModel(token, owner, label, model, tuple(examples), tuple(differing))
        with self._lock:
            self._models[token] = self._clock(), user_model
            if examples:
                self._last_trained[owner] = token
        self._evict()
        return user_model

    def get(self, token: str) -> UserModel:
        """The model behind a token. Raises ValueError when there is none (any more)."""
        self._evict()
        with self._lock:
            if token not in self._models:
                raise ValueError(
                    "This model of your own is no longer on the server: open its checkpoint again, or train it again."
                )
            user_model = self._models.pop(token)[1]
            self._models[token] = self._clock(), user_model
        return user_model

    def last_trained(self, owner: str) -> UserModel:
        """The model trained last in a session. Raises ValueError when there is none."""
        with self._lock:
            token = self._last_trained.get(owner, "")
        return self.get(token)

    def of(self, owner: str) -> list[UserModel]:
        """The models of one session, the least recently used first."""
        with self._lock:
            return [user_model for _, user_model in self._models.values() if user_model.owner == owner]

    def remove(self, owner: str) -> None:
        """Drops all models of one session."""
        self._evict(owner)
        with self._lock:
            self._last_trained.pop(owner, None)

    def _evict(self, owner: str | None = None) -> None:
        """Drops the models unused for too long, those beyond the most, and all of `owner`."""
        oldest = self._clock() - MAX_IDLE_HOURS * 3600
        with self._lock:
            gone = [t for t, (used, m) in self._models.items() if used < oldest or (owner and m.owner == owner)]
            gone += [token for token in self._models if token not in gone][:-MAX_MODELS]
            for token in gone:
                del self._models[token]
        for token in gone:
            self._removed(token)
