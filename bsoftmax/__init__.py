"""Softmax against sigmoid: what each head of a classifier looks at in an image."""

from .cams import METHODS, class_map, explain, identical_by_construction
from .model import DualBranch
from .sources import SOURCES
from .view import View
from .zoo import open_model

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "SOURCES",
    "DualBranch",
    "View",
    "class_map",
    "explain",
    "identical_by_construction",
    "open_model",
]
