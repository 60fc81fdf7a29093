"""Localisation of objects by maps: boxes, pixels and points, as the WSOL benchmark counts them (Choe et al. 2020).

`scale` upsamples a map to [h,w] in [0, 1], `quantise` to 256 levels. `sweep` finds the boxes above every level once.
Metrics of a data set (the best threshold, PxAP) are functions of the rows of `score_boxes` and `pixel_counts`, summed
over images.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch import Tensor

from ..data.sets import Annotation, DataError
from ..images import render
from ..images.read import read_rgb
from ..utils.text import quoted

LEVELS = 256
THRESHOLDS = np.arange(0, 1, 0.001)  # of the benchmark; the paper's authors add 1.0
EDGES = np.append(THRESHOLDS, [1.0, 2.0, 3.0])  # bins of the benchmark's pixel histograms
Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class Protocol:
    """The rules of localisation; `asdict` goes into every result.

    `bicubic`: the methods whose maps are upsampled bicubically without ReLU; None: all. The others are rectified and
    upsampled bilinearly. Min-max follows the interpolation.
    """

    name: str
    any_box: bool  # whether GT-known and Top-1 Loc accept any true box, or only the first
    thresholds: int  # 1000: 0, 0.001 ... 0.999; 1001: also 1, at which the box is [0, 0, 0, 0]
    bicubic: tuple[str, ...] | None
    size: int = render.SIDE
    tau: float = 0.2
    iou: float = 0.5
    ious: tuple[float, ...] = (0.3, 0.5, 0.7)
    box: str = "x1 = x + w and y1 = y + h, clipped to size - 1; inclusive IoU; truth scaled and truncated"
    contours: str = "largest for GT-known Loc, Top-1 Loc and MaxBoxAcc; all for MaxBoxAccV2"

    def steps(self, method: str) -> dict[str, Any]:
        """The `mode` and `rectify` of `scale` for a CAM method's maps."""
        bicubic = self.bicubic is None or method in self.bicubic
        return {"mode": "bicubic" if bicubic else "bilinear", "rectify": not bicubic}

    def asdict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


PROTOCOLS = {
    rule.name: rule for rule in (Protocol("standard", True, 1000, None), Protocol("official", False, 1001, ("cam",)))
}


def protocol(name: str) -> Protocol:
    """The protocol of a name. Raises ValueError, naming the known ones, for any other."""
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol {quoted(name)}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def scale(S: np.ndarray | Tensor, size: int = render.SIDE, mode: str = "bicubic", rectify: bool = False) -> np.ndarray:
    """(U - min U)/(max U - min U) of S [P,Q], with ReLU if `rectify`, upsampled to U: float64 [size,size].

    A constant U becomes 0. Raises ValueError for NaN, infinity, or not [P,Q].
    """
    if S.ndim != 2:
        raise ValueError(f"Expected one map [P, Q], got the shape {tuple(S.shape)}.")
    fine = render.upsample(render.rectify(S) if rectify else S, (size, size), mode)
    U: np.ndarray = np.asarray(fine.detach().cpu() if isinstance(fine, Tensor) else fine, dtype=np.float64)
    low, high = float(U.min()), float(U.max())
    scaled: np.ndarray = (U - low) / (high - low) if high > low else np.zeros_like(U)
    return scaled


def quantise(values: np.ndarray) -> np.ndarray:
    """floor(255 values) of a map in [0, 1]: uint8 [h,w]. Raises ValueError for numbers outside, or NaN."""
    levels: np.ndarray = np.floor(255 * _within(values)).astype(np.uint8)
    return levels


def _within(values: np.ndarray) -> np.ndarray:
    if not (np.min(values) >= 0 and np.max(values) <= 1):
        raise ValueError("Expected a map of numbers in [0, 1], got others or NaN: scale it first.")
    return np.asarray(values, dtype=np.float64)


def heat(S: np.ndarray | Tensor, *steps: Any, **options: Any) -> np.ndarray:
    """The levels of a map: `quantise(scale(S, ...))`, uint8 [size,size]. Raises ValueError as `scale` does."""
    return quantise(scale(S, *steps, **options))


class Sweep(NamedTuple):
    """The boxes of all levels: `boxes[start[v]:start[v + 1]]` of level v, of which `largest[v]` is the largest."""

    boxes: np.ndarray
    start: np.ndarray
    largest: np.ndarray
    top: int  # the highest level of the map


def sweep(levels: np.ndarray) -> Sweep:
    """The boxes around the contours of `levels > v`, strictly, for every v of 0 to 255 and a map uint8 [h,w].

    As in the benchmark (Choe et al. 2020) boxes are (x0, y0, x1, y1) with x1 = x + w and y1 = y + h clipped to the last
    pixel (one more than the region has), contours of holes included; [0, 0, 0, 0] where nothing is above. The largest
    has the largest area; of equal ones it is the first in OpenCV's order.
    """
    top, present = int(levels.max()), np.bincount(levels.ravel(), minlength=LEVELS)
    corners, which = [(0, 0, levels.shape[1], levels.shape[0])], 0
    found: list[Corners] = []
    start, largest = [], []
    for level in range(LEVELS):
        if level >= top:
            corners, which = [(0, 0, 0, 0)], 0
        elif level == 0 or present[level]:  # no pixel of this level: the same contours
            corners, which = _outlines(levels, level, corners)
        start.append(len(found))
        largest.append(len(found) + which)
        found += corners
    last = [side - 1 for side in levels.shape[::-1] * 2]
    return Sweep(np.minimum(found, last), np.array([*start, len(found)]), np.array(largest), top)


def _outlines(levels: np.ndarray, level: int, within: list[Corners]) -> tuple[list[Corners], int]:
    """(x, y, x + w, y + h) of each contour above a level, all inside those `within`, and the index of the largest."""
    left, upper, right, lower = zip(*within)
    x0, y0 = min(left), min(upper)
    region = (levels[y0 : max(lower), x0 : max(right)] > level).view(np.uint8)
    contours = cv2.findContours(region, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))[0]
    areas = [cv2.contourArea(contour) for contour in contours] if len(contours) > 1 else [0.0]
    rects = map(cv2.boundingRect, contours)
    return [(x, y, x + w, y + h) for x, y, w, h in rects], areas.index(max(areas))


def boxes(found: Sweep | np.ndarray, tau: float, every: bool = False) -> np.ndarray:
    """The box of the largest contour, or those of `every` contour, of `levels > int(tau max)`: int64 [n,4].

    `found` is a map's sweep or its levels uint8 [h,w]. Raises ValueError for a tau outside [0, 1].
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"Expected tau between 0 and 1, got {tau}.")
    found = found if isinstance(found, Sweep) else sweep(found)
    level = int(tau * found.top)
    one = found.largest[level]
    return found.boxes[found.start[level] : found.start[level + 1]] if every else found.boxes[one : one + 1]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of inclusive boxes: [m,4], [n,4] -> [m,n]."""
    a, b = a[:, None], b[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    inner = np.maximum(sides, 0).prod(-1)
    areas = [(c[..., 2:] - c[..., :2] + 1).prod(-1) for c in (a, b)]
    ious: np.ndarray = inner / (areas[0] + areas[1] - inner)
    return ious


def curve(found: Sweep | np.ndarray, truth: np.ndarray, multi_contour: bool) -> np.ndarray:
    """The best IoU above each level with any true box [n,4], of the largest contour or of all: float64 [256].

    `found` is a map's sweep or its levels uint8 [h,w]; `at_thresholds` gives the level of each tau.
    """
    found = found if isinstance(found, Sweep) else sweep(found)
    best: np.ndarray = iou(found.boxes if multi_contour else found.boxes[found.largest], truth).max(1)
    return np.maximum.reduceat(best, found.start[:-1]) if multi_contour else best


def at_thresholds(top: int, rule: Protocol) -> np.ndarray:
    """The level int(tau top) of each of the protocol's thresholds tau: [thresholds]."""
    return (np.append(THRESHOLDS, 1.0)[: rule.thresholds] * top).astype(np.int64)


def true_boxes(truth: Annotation, size: int = render.SIDE) -> np.ndarray:
    """Boxes of the stored image in pixels of a map [size,size]: trunc(x size/width), trunc(y size/height): int64 [n,4].

    Raises DataError where there is no box, or one with negative or swapped corners.
    """
    corners = np.array(truth.boxes, dtype=np.float64).reshape(-1, 4)
    if not len(corners) or not (corners >= 0).all() or (corners[:, 2:] < corners[:, :2]).any():
        raise DataError(f"Expected boxes 0 <= x0 <= x1, 0 <= y0 <= y1, got {list(truth.boxes)[:3]}: correct the list.")
    return (corners * size / np.tile(np.array(truth.size, dtype=np.float64), 2)).astype(np.int64)


def score_boxes(
    levels: np.ndarray, truth: Annotation, right: bool, rule: Protocol
) -> tuple[dict[str, float], np.ndarray]:
    """One image: its numbers in percent, to be averaged, and its hits bool [4,256], to be summed.

    `right`: whether the softmax head predicts the true class. Rows of hits: the largest contour at IoU .5, then all
    contours at IoU .3, .5, .7. Raises ValueError for a map whose maximum is neither 255 nor 0.
    """
    if int(levels.max()) not in (0, LEVELS - 1):
        raise ValueError(f"Expected levels from 0 to 255, got at most {levels.max()}: make them with heat.")
    found, true = sweep(levels), true_boxes(truth, levels.shape[0])
    largest, every = curve(found, true, False), curve(found, true, True)
    one = largest if rule.any_box else curve(found, true[:1], False)
    hit = bool(one[int(rule.tau * found.top)] >= rule.iou)
    numbers = {"top1_cls": 100.0 * right, "gt_loc": 100.0 * hit, "top1_loc": 100.0 * (hit and right)}
    return numbers, np.stack([largest >= rule.iou, *(every >= iou for iou in rule.ious)])


def true_pixels(truth: Annotation, size: int = render.SIDE) -> np.ndarray:
    """The object's pixels of a map [size,size]: uint8, 1 inside any mask (else any box), 255 ignored, 0 elsewhere.

    Ignored are pixels of the ignore mask that no mask has; masks are resized by nearest neighbour, as in the benchmark.
    Raises DataError for malformed or missing annotations, ImageError for a mask that cannot be read.
    """
    out = np.zeros((size, size), dtype=np.uint8)
    if truth.ignore is not None:
        out[_read_mask(truth.ignore, size)] = 255
    for path in truth.masks:
        out[_read_mask(path, size)] = 1
    if not truth.masks:
        for x0, y0, x1, y1 in true_boxes(truth, size):
            out[y0 : y1 + 1, x0 : x1 + 1] = 1
    return out


def _read_mask(path: Path, size: int) -> np.ndarray:
    mask = np.asarray(read_rgb(path)).max(2)
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)) > 0


def pixel_counts(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Histograms over EDGES of a map in [0, 1], of the object's pixels and of the background's: int64 [2,1002].

    `target`: of `true_pixels`. PxAP follows from their sums over images. Raises ValueError for numbers outside [0, 1].
    """
    bins = EDGES.searchsorted(_within(values), side="right") - 1
    return np.stack([np.bincount(bins[target == kind], minlength=len(EDGES) - 1) for kind in (1, 0)])


def pointing(values: np.ndarray, target: np.ndarray, tolerance: float = 0) -> float:
    """The pointing game (Zhang et al. 2016): 100 if the map's maximum lies within `tolerance` pixels of the object.

    Where several pixels have the maximum, the share of them that do: the expectation over a random choice. `target`: of
    `true_pixels`, whose ignored pixels are not the object. The paper's tolerance is 15 pixels.
    """
    if not np.isfinite(values).all():
        raise ValueError("Expected a map of finite numbers, got NaN or infinity in it.")
    distance = cv2.distanceTransform((target != 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return 100 * float((distance[values == values.max()] <= tolerance).mean())
