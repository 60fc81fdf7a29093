"""Softmax's freedom, measured: a head moved along vectors that its probabilities cannot see, and what becomes of maps.

`directions` chooses the vectors, `sweep` measures every source and clamp along them, `crossing` finds where one map
overtakes another, `report` and `figure` write it down. May import every package below; `cli` and `demo` import it.
"""

from .directions import DIRECTIONS, Direction
from .sweep import GaugeRun, sweep

__all__ = ["DIRECTIONS", "Direction", "GaugeRun", "sweep"]
