"""Where the boxes of a head's maps begin to break: for each slider of the page, the value that half the images survive.

A box is broken where its IoU with the box of the undistorted softmax map is at most 0.5 (`cams.effects.box_of_map`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..models.heads import is_gap_linear, last_linear
from .distortions import box_iou
from .effects import Distortion, box_of_map, classifiers
from .methods import class_map
from .view import View

SHARES = np.geomspace(1 / 16, 64, 31)  # of the class's root mean square weight
PERCENTS = tuple(range(2, 101, 2))


@dataclass(frozen=True)
class Slider:
    """The values of a slider that are tried, in order, and the distortion at each."""

    values: Sequence[float]
    distortion: Callable[[float], Distortion]


def sliders(view: View, k: int, S: Tensor) -> dict[str, Slider]:
    """Those of the page: one channel brightened, positive weights flipped, the same number off every weight.

    The channel is the page's own first choice: the one that is brightest where the map is below its median, less its
    mean elsewhere. Without pooling and one linear layer there is no such channel.
    """
    scale = float(last_linear(view.model.softmax).weight[k].square().mean().sqrt())
    sizes = tuple(float(scale * share) for share in SHARES)
    found = {
        "flip": Slider(PERCENTS, lambda value: Distortion(flip=value)),
        "uniform": Slider(sizes, lambda value: Distortion(uniform=value)),
    }
    if is_gap_linear(view.model.neck, view.model.softmax):
        channel = (backdrop(view.F[0], S),)
        found["delta"] = Slider(sizes, lambda value: Distortion(channels=channel, delta=value))
    return found


def backdrop(F: Tensor, S: Tensor) -> int:
    """The channel whose mean where S [P,Q] is below its median exceeds its mean elsewhere most: F [N,P,Q]."""
    middle = S.flatten().sort().values[S.numel() // 2]
    outside = (middle > S).flatten()
    if not bool(outside.any()):
        return int(F.mean((1, 2)).argmax())
    flat = F.flatten(1)
    return int((flat[:, outside].mean(1) - flat[:, ~outside].mean(1)).argmax())


def broken_at(view: View, k: int, method: str) -> dict[str, float]:
    """For one image and class, the first value of every slider at which the box is broken; infinite where none is."""
    S = class_map(view.evidence("softmax", k), method, False)[0]
    start = box_of_map(S)

    def broken(distortion: Distortion) -> bool:
        head = classifiers(view.model, distortion, k)["softmax"]
        return box_iou(start, box_of_map(class_map(view.evidence("softmax", k, head), method, False)[0])) <= 0.5

    found = {}
    for name, slider in sliders(view, k, S).items():
        found[name] = next((value for value in slider.values if broken(slider.distortion(value))), np.inf)
    return found


def breaking(views: Iterable[View], method: str) -> dict[str, float]:
    """The median over images of `broken_at` for the predicted class, and `images`; sliders that break half only."""
    each = [broken_at(view, int(view.logits("softmax")[0].argmax()), method) for view in views]
    out: dict[str, float] = {"images": len(each)}
    for name in each[0] if each else ():
        middle = float(np.sort([found[name] for found in each])[(len(each) - 1) // 2])
        out |= {name: middle} if np.isfinite(middle) else {}
    return out
