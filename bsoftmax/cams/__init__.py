"""Class activation maps as functions of the features F and a head; maps are signed tensors.

`view` runs the trunk once and keeps F; `sources` are the scores that maps explain, `methods` the CAM functions,
`distortions` the weight shifts that leave softmax unchanged, `effects` measures them on an image, `sweep` draws that,
and `breaking` finds the sizes that boxes do not survive. May import models, images and utils.
"""

from .effects import Distortion, Outcome, distort, gauge, tolerance
from .methods import METHODS, Method, class_map, explain, identical_by_construction, unavailable, weigh
from .sources import SOURCES, Source
from .view import Evidence, View

__all__ = [
    "METHODS",
    "SOURCES",
    "Distortion",
    "Evidence",
    "Method",
    "Outcome",
    "Source",
    "View",
    "class_map",
    "distort",
    "explain",
    "gauge",
    "identical_by_construction",
    "tolerance",
    "unavailable",
    "weigh",
]
