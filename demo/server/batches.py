"""The lane of the trunks: photographs that wait for the same trunk go through it in one pass, whoever sent them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bsoftmax import DualBranch

from .folding import Features, faster
from .lanes import StoppedError

MOST = 4  # photographs in one pass; eight of the bundled model's take longer, each, than one alone


@dataclass(eq=False)
class _Waiting:
    """A photograph before its pass."""

    owner: str | None
    model: DualBranch
    x: Tensor
    features: Future[Features] = field(default_factory=Future)


class TrunkLane:
    """Passes of all trunks, one after another on one thread, so that passes never compete for the cores."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, threading.Lock()
        self._waiting: list[_Waiting] = []
        self._pool = ThreadPoolExecutor(1, "trunk")
        self._faster: WeakKeyDictionary[DualBranch, Callable[[Tensor], Features] | None] = WeakKeyDictionary()

    def features(self, model: DualBranch, x: Tensor, owner: str | None = None) -> Features:
        """F [1,N,P,Q] and tokens of one photograph x [1,3,S,S], those of `model.features(x)` but for rounding.

        Raises StoppedError when the session `owner` leaves before its pass.
        """
        mine = _Waiting(owner, model, x)
        with self._lock:
            self._waiting.append(mine)
        self._pool.submit(self.run_next)  # one for each photograph; those that find nothing left do nothing
        try:
            return mine.features.result()
        except CancelledError:
            raise StoppedError("Stopped: the page was closed.") from None

    def leave(self, owner: str) -> None:
        """Takes out what a session waits for; a pass that has begun goes on."""
        with self._lock:
            gone = [one for one in self._waiting if one.owner == owner]
            self._waiting = [one for one in self._waiting if one.owner != owner]
        for one in gone:
            one.features.cancel()

    def run_next(self) -> None:
        """Runs the pass whose photographs have waited longest, if any wait."""
        batch = self._take()
        if not batch:
            return
        try:
            F, tokens = self._runner(batch[0].model)(torch.cat([one.x for one in batch]))
        except BaseException as error:
            for one in batch:
                one.features.set_exception(error)
            return
        for b, one in enumerate(batch):  # copies: a part would keep the whole batch
            own = slice(b, b + 1)
            F_own = F[own].clone(memory_format=torch.contiguous_format)
            one.features.set_result((F_own, None if tokens is None else tokens[own].clone()))

    def _runner(self, model: DualBranch) -> Callable[[Tensor], Features]:
        if model not in self._faster:
            self._faster[model] = faster(model)
        return self._faster[model] or model.features

    def _take(self) -> list[_Waiting]:
        """The photograph that has waited longest, and the next of the same model."""
        with self._lock:
            alike = [one for one in self._waiting if one.model is self._waiting[0].model]
            batch = alike[: self._most]
            self._waiting = [one for one in self._waiting if one not in batch]
        return batch
