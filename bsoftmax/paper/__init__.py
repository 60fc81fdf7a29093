"""The paper's Tables 1 and 2: its numbers as data, its experiments as presets, and both side by side.

`published` has the numbers, `presets` the options of each cell, `reproduction` runs them, `side_by_side` writes the
published and the reproduced numbers. May import training, reports and everything they may.
"""

from .presets import Reproduction
from .published import TABLES
from .reproduction import reproduce

__all__ = ["TABLES", "Reproduction", "reproduce"]
