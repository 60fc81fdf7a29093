"""The arithmetic of render again, slowly, from the definitions; imports nothing from the package."""

from __future__ import annotations

import math

import numpy as np


def keys(t, a=-0.75):
    """Keys' cubic convolution kernel (1981, Eq. 4), with the `a` that OpenCV and PyTorch use."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    if t < 2:
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return 0.0


def triangle(t):
    return max(0.0, 1 - abs(t))


def interpolate(S, size, kernel, reach):
    """Pixel (y, x) looks at ((y + 1/2) P/h - 1/2, (x + 1/2) Q/w - 1/2) of S; beyond an edge the edge repeats."""
    P, Q = S.shape
    rows, columns = (neighbours(old, new, kernel, reach) for old, new in zip((P, Q), size))
    values, out = S.tolist(), np.zeros(size)
    for y, below in enumerate(rows):
        for x, beside in enumerate(columns):
            out[y, x] = sum(vertical * horizontal * values[p][q] for p, vertical in below for q, horizontal in beside)
    return out


def neighbours(old, new, kernel, reach):
    """For each new place the old ones that it looks at, and their weights."""
    found = []
    for n in range(new):
        v = (n + 0.5) * old / new - 0.5
        near = range(math.floor(v) - reach + 1, math.floor(v) + reach + 1)
        found.append([(min(max(p, 0), old - 1), kernel(v - p)) for p in near])
    return found


def bicubic(S, size):
    return interpolate(S, size, keys, 2)


def bilinear(S, size):
    return interpolate(S, size, triangle, 1)


def nearest(S, size):
    P, Q = S.shape
    h, w = size
    return np.array([[S[y * P // h, x * Q // w] for x in range(w)] for y in range(h)])


def region_box(values, tau):
    """The rule of boxes for a map with one connected region: strict >, integer levels, both ends inclusive."""
    levels = [[math.floor(255 * float(v)) for v in row] for row in values]
    limit = int(tau * max(map(max, levels)))
    inside = [(y, x) for y, row in enumerate(levels) for x, v in enumerate(row) if v > limit]
    if not inside:
        return None
    ys, xs = zip(*inside)
    return min(xs), min(ys), max(xs), max(ys)
