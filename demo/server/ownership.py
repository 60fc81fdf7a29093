"""Which browser sessions use which files and analysed photographs; what nobody uses any more is removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gradio.context import LocalContext

MAX_AGE = 2 * 3600.0  # seconds since the last use, after which a thing is removed whoever used it
SWEEP = 300.0  # seconds between two looks for such


def current_session() -> str | None:
    """The browser session of the event that this thread handles; "" for a call without one, None outside of events."""
    request = LocalContext.request.get(None)
    return None if request is None else (getattr(request, "session_hash", None) or "")  # a component's call has none


def unread() -> int:
    """How many messages wait for the browser of this event; it has left without a word when there are many."""
    blocks, session = LocalContext.blocks.get(None), current_session()
    if blocks is None or not session:
        return 0
    messages = blocks._queue.pending_messages_per_session.get(session)
    return 0 if messages is None else messages.qsize()


@dataclass
class _Use:
    owners: set[str] = field(default_factory=set)
    permanent: bool = False  # the page's own: examples, what every visitor sees first
    at: float = 0.0


class Ownership:
    """Uses of things by their keys; `removed` is called with each key that nobody uses any more."""

    def __init__(self, removed: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._removed, self._clock, self._lock = removed, clock, threading.Lock()
        self._uses: dict[str, _Use] = {}
        self._swept = clock()

    def use(self, key: str, owner: str | None) -> None:
        """Notes a use; None: of the page itself, for good."""
        with self._lock:
            use = self._uses.setdefault(key, _Use())
            use.at = self._clock()
            use.permanent = use.permanent or owner is None
            if owner:
                use.owners.add(owner)
        if self._clock() - self._swept > SWEEP:
            self.sweep()

    def leave(self, owner: str) -> None:
        """Ends all uses of a session; things that it never used are left alone."""
        with self._lock:
            mine = {key: use for key, use in self._uses.items() if owner in use.owners}
            for use in mine.values():
                use.owners.remove(owner)
            gone = [key for key, use in mine.items() if not use.owners and not use.permanent]
        self._remove(gone)

    def sweep(self) -> None:
        """Removes what was not used for MAX_AGE: of programs, and of browsers whose end was not heard of."""
        with self._lock:
            self._swept = self._clock()
            oldest = self._swept - MAX_AGE
            gone = [key for key, use in self._uses.items() if use.at < oldest and not use.permanent]
        self._remove(gone)

    def _remove(self, keys: list[str]) -> None:
        with self._lock:
            for key in keys:
                self._uses.pop(key, None)
        for key in keys:
            self._removed(key)
