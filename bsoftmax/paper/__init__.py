"""The paper's Tables 1 and 2: its numbers as data, its experiments as presets, and both side by side.

`published` holds the numbers, `presets` what each cell is run with, `reproduction` runs them, `side_by_side` writes
what was found beside what was published. May import training, evaluation and everything they may.
"""

from .presets import Reproduction
from .published import TABLES
from .reproduction import reproduce

__all__ = [
    "TABLES",
    "Reproduction",
    "reproduce",
]
