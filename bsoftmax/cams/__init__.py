"""Class activation maps: functions of the features F and a head, never of the network.

`view` runs the trunk once and keeps F; `sources` are the scores a map explains, `methods` the CAM functions (Grad-CAM
and the others), `distortions` the shifts that softmax cannot see and `effects` what they do to a picture, `sweep` that
as a figure or GIF. Signed tensors throughout. May import models, images and utils.
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
