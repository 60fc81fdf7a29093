"""What every other package needs and no domain owns.

Files written whole or not at all, strings made fit to be shown, several processes at one task, and the events by which
long work reports. Imports nothing of the library.
"""

from .distributed import Ranks
from .events import Emit, Event
from .files import atomic_open, atomic_path, file_hash, write_text
from .text import printable, quoted, shortened

__all__ = [
    "Emit",
    "Event",
    "Ranks",
    "atomic_open",
    "atomic_path",
    "file_hash",
    "printable",
    "quoted",
    "shortened",
    "write_text",
]
