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
from bsoftmax.models import checkpoints
from bsoftmax.models.spec import Spec

from .permissions import MAX_MILLION_PARAMETERS, check_download

Picture = tuple[str, str]  # a path and its caption
PREFIX = "own-"
MAX_EACH = 3  # kept open of one session
MAX_PARAMETERS = 500e6  # of all sessions together: 2 GB
RECENT_SECONDS = 600.0  # since its last use, in which a model never makes room for another session's
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
    spec = Spec.from_metadata(checkpoints.header(path).metadata)
    if spec.origin.get("trunk") == "hub":
        check_download(spec.trunk)
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
        self._make_room(owner, _size(model))
        with self._lock:
            self._models[token] = self._clock(), user_model
            if examples:
                self._last_trained[owner] = token
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

    def _make_room(self, owner: str, size: float) -> None:
        """Drops the session's oldest models beyond MAX_EACH, and long unused ones where memory is short.

        Raises ValueError when all that would have to go is in use.
        """
        self._evict()
        with self._lock:
            own = [token for token, (_, m) in self._models.items() if m.owner == owner]
            gone = own[: max(len(own) - MAX_EACH + 1, 0)]
            left = {t: (used, _size(m.model)) for t, (used, m) in self._models.items() if t not in gone}
            for token, (used, _) in list(left.items()):
                if sum(s for _, s in left.values()) + size <= MAX_PARAMETERS:
                    break
                if used < self._clock() - RECENT_SECONDS:
                    gone.append(token)
                    del left[token]
            if left and sum(s for _, s in left.values()) + size > MAX_PARAMETERS:
                raise ValueError("The server holds as many models of visitors as it can: try again in a few minutes.")
        self._drop(gone)

    def _evict(self, owner: str | None = None) -> None:
        """Drops the models unused for too long, and all of `owner`."""
        oldest = self._clock() - MAX_IDLE_HOURS * 3600
        with self._lock:
            gone = [t for t, (used, m) in self._models.items() if used < oldest or (owner and m.owner == owner)]
        self._drop(gone)

    def _drop(self, tokens: list[str]) -> None:
        with self._lock:
            tokens = [token for token in tokens if self._models.pop(token, None)]
        for token in tokens:
            self._removed(token)


def _size(model: DualBranch) -> float:
    """The number of its parameters."""
    return sum(p.numel() for p in model.parameters())
