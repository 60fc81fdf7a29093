"""Strings from people, made fit to be shown: control characters replaced, long names shortened."""

from __future__ import annotations

import unicodedata


def printable(name: str) -> str:
    """A name fit to be shown and hashed: control characters, text-direction overrides and broken bytes as U+FFFD."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _unfit(c) else c for c in name)


def _unfit(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"


def shortened(name: str, length: int = 80) -> str:
    """A name fit to be shown, its middle left out where it is long."""
    name = printable(name)
    return name if len(name) <= length else f"{name[: length // 2]}...{name[-length // 2 :]}"


def quoted(name: str) -> str:
    """A name in quotes, for a message."""
    return repr(shortened(name))
