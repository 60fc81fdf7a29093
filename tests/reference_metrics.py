"""The metrics again, slowly, from the papers; imports nothing from the package.

`plain_*` is the WSOL benchmark's procedure as its paper describes it (every threshold anew, OpenCV's contours);
`contour_boxes` finds the same boxes without OpenCV, by filling regions.
"""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np

SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def fill(grid, start, neighbours):
    """All places reached from `start` over equal values of a boolean grid."""
    reached, todo = {start}, [start]
    while todo:
        y, x = todo.pop()
        for dy, dx in neighbours:
            place = (y + dy, x + dx)
            inside = 0 <= place[0] < grid.shape[0] and 0 <= place[1] < grid.shape[1]
            if inside and place not in reached and grid[place] == grid[start]:
                reached.add(place)
                todo.append(place)
    return reached


def regions(grid, value, neighbours):
    left = {(y, x) for y, x in zip(*np.nonzero(grid == value))}
    while left:
        region = fill(grid, min(left), neighbours)
        left -= region
        yield region


def bounds(region):
    ys, xs = zip(*region)
    return min(xs), min(ys), max(xs), max(ys)


def enclosed_area(region, shape):
    """The area within the polygon through the centres of a region's outer pixels: whole and half squares of pixels."""
    grid = np.zeros((shape[0] + 2, shape[1] + 2), dtype=bool)
    for y, x in region:
        grid[y + 1, x + 1] = True
    outside = fill(grid, (0, 0), SIDES)
    solid = np.array([[(y, x) not in outside for x in range(grid.shape[1])] for y in range(grid.shape[0])])
    corners = solid[:-1, :-1].astype(int) + solid[1:, :-1] + solid[:-1, 1:] + solid[1:, 1:]
    return (corners == 4).sum() + (corners == 3).sum() / 2


def contour_boxes(region):
    """([box of each contour], [box of each contour of the largest area]) of a boolean map, in the benchmark's manner.

    Regions connect at corners, holes do not; the contour of a hole runs through the pixels around it.
    """
    h, w = region.shape
    outer = [(bounds(part), enclosed_area(part, region.shape)) for part in regions(region, True, SIDES + CORNERS)]
    framed = np.pad(region, 1)
    holes = [
        (x0 - 2, y0 - 2, x1, y1)  # one pixel of frame, one pixel around the hole
        for part in regions(framed, False, SIDES)
        if (0, 0) not in part
        for x0, y0, x1, y1 in [bounds(part)]
    ]

    def convention(box):
        return box[0], box[1], min(box[2] + 1, w - 1), min(box[3] + 1, h - 1)

    if not outer:
        return [(0, 0, 0, 0)], [(0, 0, 0, 0)]
    most = max(area for _, area in outer)
    every = [convention(box) for box, _ in outer] + [convention(box) for box in holes]
    return every, [convention(box) for box, area in outer if area == most]


def iou(a, b):
    pixels = [{(x, y) for x in range(c[0], c[2] + 1) for y in range(c[1], c[3] + 1)} for c in (a, b)]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def quick_iou(a, b):
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def plain_boxes(levels, tau, every):
    height, width = levels.shape
    limit = int(tau * int(levels.max()))
    _, binary = cv2.threshold(levels, limit, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)]
    if not every:
        contours = [max(contours, key=cv2.contourArea)]
    rects = [cv2.boundingRect(contour) for contour in contours]
    return [(x, y, min(x + w, width - 1), min(y + h, height - 1)) for x, y, w, h in rects]


def plain_ious(levels, truth, thresholds, every):
    """The best IoU at each threshold."""
    return [max(quick_iou(a, b) for a in plain_boxes(levels, tau, every) for b in truth) for tau in thresholds]


def plain_accuracies(maps, annotations, thresholds, every, bars):
    """For each bar the percent of maps that are right at the best threshold of the set."""
    found = [plain_ious(m, t, thresholds, every) for m, t in zip(maps, annotations)]
    return [max(100 * sum(v >= bar for v in column) / len(maps) for column in zip(*found)) for bar in bars]


def pixel_ap(scores, positive):
    """Average precision over thresholds 1, 0.999, ..., 0 of pixels, from two flat lists."""
    thresholds = [*(i * 0.001 for i in range(1000)), 1.0]
    before, area = 0.0, 0.0
    for tau in reversed(thresholds):
        chosen = [p for s, p in zip(scores, positive) if s >= tau]
        if chosen:
            recall = sum(chosen) / sum(positive)
            area += sum(chosen) / len(chosen) * (recall - before)
            before = recall
    return 100 * area


def softmax(logits, k):
    top = max(logits)
    powers = [math.exp(v - top) for v in logits]
    return powers[k] / sum(powers)


def pearson(a, b):
    a, b = (np.asarray(v, dtype=float).ravel().tolist() for v in (a, b))
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    over = sum((u - ma) * (v - mb) for u, v in zip(a, b))
    return over / math.sqrt(sum((u - ma) ** 2 for u in a) * sum((v - mb) ** 2 for v in b))


def stage(top, bottom, values, count):
    """A picture [3,H,W] whose `count` highest-valued pixels are from `top`; of equal values, the first in reading."""
    places = [(-values[y][x], y, x) for y in range(len(values)) for x in range(len(values[0]))]
    out = bottom.copy()
    for _, y, x in sorted(places)[:count]:
        out[:, y, x] = top[:, y, x]
    return out


def trapezoids(curve):
    return 100 * sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (len(curve) - 1)


def hoyer(S):
    values = [max(0.0, float(v)) for v in np.ravel(S)]
    l1, l2 = sum(values), math.sqrt(sum(v * v for v in values))
    return (math.sqrt(len(values)) - l1 / l2) / (math.sqrt(len(values)) - 1)


def bootstrap_means(values, draws):
    """The mean of every round, given which images were drawn in it."""
    return [sum(values[i] for i in round_) / len(round_) for round_ in draws]
