"""Text for messages: strings from users without control characters, and errors as sentences."""

from __future__ import annotations

import unicodedata


def printable(name: str) -> str:
    """The name with control characters, text-direction overrides and lone surrogates replaced by U+FFFD."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _unprintable(c) else c for c in name)


def _unprintable(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"


def shortened(name: str, length: int = 80) -> str:
    """The printable name; the middle of a long one is left out."""
    name = printable(name)
    return name if len(name) <= length else f"{name[: length // 2]}...{name[-length // 2 :]}"


def quoted(name: str) -> str:
    """The shortened name in quotes, for a message."""
    return repr(shortened(name))


def error_sentence(error: Exception) -> str:
    """An error for users: the message of ours, the short text of the system's."""
    if isinstance(error, OSError) and error.strerror:
        return f"The system refused a file: {error.strerror}; free some space or check the folder's permissions."
    return str(error)
