"""Who computes when: quick computations in turns, slow ones in a lane, one after another at low priority."""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from bsoftmax.cams.view import Tick

T = TypeVar("T")
MOST = 8  # computations that run or wait, of all sessions together
NICENESS = 10
POLL = 0.2  # seconds
_begun: contextvars.ContextVar[float | None] = contextvars.ContextVar("begun", default=None)


class StoppedError(ValueError):
    """The visitor stopped a computation, left, or asked for another."""


@dataclass
class Ticket:
    """A computation that runs or waits."""

    owner: str | None
    stopped: bool = False


@contextlib.contextmanager
def begun() -> Iterator[None]:
    """What is computed within has been asked for at this moment, for the order of `Turns`; a moment before holds."""
    token = _begun.set(_begun.get() or time.monotonic())
    try:
        yield
    finally:
        _begun.reset(token)


class Turns:
    """At most so many threads at once; of those that wait, the one goes first whose event began first.

    So a new photograph, which has waited for the trunk before, is not passed by what came later. A semaphore of
    Python's lets threads that have just come pass those that wait.
    """

    def __init__(self, count: int) -> None:
        self._free, self._lock, self._came = count, threading.Lock(), itertools.count()
        self._waiting: list[tuple[float, int, threading.Event]] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Event()
            heapq.heappush(self._waiting, (_begun.get() or time.monotonic(), next(self._came), turn))
        turn.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].set()  # the place is handed on, and nobody comes between
            else:
                self._free += 1


class SlowLane:
    """Slow computations of all sessions, at most one of each session, one at a time."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._lock = most, threading.Lock()
        self._tickets: list[Ticket] = []
        self._pool = ThreadPoolExecutor(1, "slow", initializer=_lower_priority)

    def run(
        self, owner: str | None, work: Callable[[Tick], T], tick: Tick | None = None,
        waiting: Callable[[int], None] = lambda ahead: None,
    ) -> T:  # fmt: skip
        """What `work(tick)` returns, after its turn; `waiting` is told how many are ahead. The session's last ends.

        Raises StoppedError when it was stopped, ValueError when too many wait.
        """
        ticket = self._enter(owner)

        def checked(done: int, total: int) -> None:
            if ticket.stopped:
                raise StoppedError("Stopped. What was computed is kept and used the next time.")
            if tick:
                tick(done, total)

        def job() -> T:
            checked(0, 1)
            return work(checked)

        future = self._pool.submit(contextvars.copy_context().run, job)  # Gradio's progress bar is in the context
        try:
            while not wait([future], POLL).done:
                if ticket.stopped and future.cancel():  # `wait` would go on until the one ahead has ended
                    raise StoppedError("Stopped.")
                if ahead := self._ahead(ticket):
                    waiting(ahead)
            return future.result()
        finally:
            ticket.stopped = True  # also when the visitor's own thread is interrupted
            with self._lock:
                self._tickets.remove(ticket)

    def stop(self, owner: str | None) -> None:
        """Ends the computation of one session, wherever it stands."""
        with self._lock:
            for ticket in self._tickets:
                if ticket.owner == owner:
                    ticket.stopped = True

    def _enter(self, owner: str | None) -> Ticket:
        if owner:
            self.stop(owner)
        with self._lock:
            if sum(not ticket.stopped for ticket in self._tickets) >= self._most:
                raise ValueError(
                    f"{self._most} slow computations wait already: choose a quick method, or try again in a minute."
                )
            self._tickets.append(Ticket(owner))
            return self._tickets[-1]

    def _ahead(self, ticket: Ticket) -> int:
        with self._lock:
            return sum(not other.stopped for other in self._tickets[: self._tickets.index(ticket)])


def _lower_priority() -> None:
    """Of this thread alone, on Linux."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
