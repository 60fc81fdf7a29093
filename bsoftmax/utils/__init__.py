"""What every other package needs and no domain owns.

Files written whole or not at all, strings made fit to be shown, several processes at one task, and the events by which
long work reports. Imports nothing of the library.
"""

from .distributed import Ranks
from .events import Emit, Event
from .files import draft, file_hash, whole, write_text
from .text import brief, shortened, shown

__all__ = [
    "Emit",
    "Event",
    "Ranks",
    "brief",
    "draft",
    "file_hash",
    "shortened",
    "shown",
    "whole",
    "write_text",
]
