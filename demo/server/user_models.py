"""People's own models: each known by a token nobody can guess, listed for the browser it was made in. No widgets."""

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

from .policy import affordable

Picture = tuple[str, str]  # a path and its caption
PREFIX = "own-"
MOST = 6  # own models kept open, of all browsers together
HOURS = 2.0  # and for how long after their last use


@dataclass(frozen=True)
class UserModel:
    """A model in one browser's menu, and that person's own validation pictures, where it was trained here."""

    token: str
    owner: str
    label: str
    model: DualBranch
    examples: tuple[Picture, ...] = ()
    differing: tuple[Picture, ...] = ()  # those its heads disagree on


def is_user_model(name: str) -> bool:
    """Whether a model's name is a token of this kind."""
    return name.startswith(PREFIX)


def opened(path: str | Path) -> DualBranch:
    """Opens a checkpoint that somebody brought. Raises ValueError (or a kind of it) with a sentence."""
    affordable(Spec.from_metadata(checkpoints.read(path)[1]).trunk)  # before a network is built at a stranger's word
    return DualBranch.load(path)


class UserModels:
    """The most recently used own models; `removed` is told the tokens of those that leave."""

    def __init__(self, removed: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._removed, self._clock, self._lock = removed, clock, threading.Lock()
        self._kept: OrderedDict[str, tuple[float, UserModel]] = OrderedDict()  # the oldest first
        self._trained: dict[str, str] = {}

    def add(
        self, owner: str, label: str, model: DualBranch, examples: Sequence[Picture] = (),
        differing: Sequence[Picture] = (),
    ) -> UserModel:  # fmt: skip
        """Keeps a model for one browser, under a new token."""
        token = PREFIX + secrets.token_urlsafe(16)
        owned = UserModel(token, owner, label, model, tuple(examples), tuple(differing))
        with self._lock:
            self._kept[token] = self._clock(), owned
            if examples:
                self._trained[owner] = token
        self._tidy(lambda _: False)
        return owned

    def get(self, token: str) -> UserModel:
        """The model behind a token. Raises ValueError when it has been removed or never was."""
        self._tidy(lambda _: False)
        with self._lock:
            if token not in self._kept:
                raise ValueError(
                    "This model of your own is no longer on the server: open its checkpoint again, or train it again."
                )
            owned = self._kept.pop(token)[1]
            self._kept[token] = self._clock(), owned
        return owned

    def trained(self, owner: str) -> UserModel:
        """The model trained last in a browser. Raises ValueError when there is none."""
        with self._lock:
            token = self._trained.get(owner, "")
        return self.get(token)

    def of(self, owner: str) -> list[UserModel]:
        """The models of one browser, the least recently used first."""
        with self._lock:
            return [owned for _, owned in self._kept.values() if owned.owner == owner]

    def forget(self, owner: str) -> None:
        """Removes all models of one browser."""
        self._tidy(lambda owned: owned.owner == owner)
        with self._lock:
            self._trained.pop(owner, None)

    def _tidy(self, leaves: Callable[[UserModel], bool]) -> None:
        late = self._clock() - HOURS * 3600
        with self._lock:
            gone = [token for token, (used, owned) in self._kept.items() if used < late or leaves(owned)]
            gone += [token for token in self._kept if token not in gone][:-MOST]
            for token in gone:
                del self._kept[token]
        for token in gone:
            self._removed(token)
