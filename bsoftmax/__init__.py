"""Softmax against sigmoid: what each head of a classifier looks at in an image.

Where things are: `data` reads image sets, `images` photographs and figures, `models` networks and checkpoints; `cams`
has the CAM methods, `training` Eq. 12 on cached features, `evaluation` the metrics, `reports` words, tables and
plots, `paper` the paper's tables, `cli` the commands. docs/architecture.md draws which of them imports which.
"""

from .cams import METHODS, SOURCES, View, class_map, explain, identical_by_construction
from .models import DualBranch, from_module, open_model

__version__ = "0.2.0"
__all__ = [
    "METHODS",
    "SOURCES",
    "DualBranch",
    "View",
    "class_map",
    "explain",
    "from_module",
    "identical_by_construction",
    "open_model",
]
