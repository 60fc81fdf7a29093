"""How long work reports what happens: events are plain dicts, handed to a callable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Emit = Callable[[Event], None]
