"""Softmax's freedom, measured: a head moved along vectors that its probabilities cannot see, and what becomes of maps.

`directions` chooses the vectors, `sweep` measures every source and clamp along them, `crossing` finds where one map
overtakes another, `report` and `figure` write it down. `survey` tabulates the heads of pretrained networks,
`made_heads` are heads off centre by construction, `repairs` measures what restores their maps. May import every package
below; `cli` and `demo` import it.
"""

from .directions import DIRECTIONS, Direction
from .made_heads import MADE, MadeHead, Samples
from .repairs import Repair, repair
from .survey import POPULAR, survey
from .sweep import GaugeRun, sweep

__all__ = [
    "DIRECTIONS", "MADE", "POPULAR", "Direction", "GaugeRun", "MadeHead", "Repair", "Samples", "repair", "survey",
    "sweep",
]  # fmt: skip
