"""Helpers that all packages share: atomic file writes, text for messages, several processes, progress events.

Imports nothing of the library.
"""

from .distributed import Ranks
from .events import Emit, Event
from .files import atomic_open, atomic_path, file_hash, write_text
from .text import error_sentence, one_line, printable, quoted, shortened

__all__ = [
    "Emit",
    "Event",
    "Ranks",
    "atomic_open",
    "atomic_path",
    "error_sentence",
    "file_hash",
    "one_line",
    "printable",
    "quoted",
    "shortened",
    "write_text",
]
