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
    h, w = size
    out = np.zeros(size)
    for y in range(h):
        for x in range(w):
            v, u = (y + 0.5) * P / h - 0.5, (x + 0.5) * Q / w - 0.5
            for p in range(math.floor(v) - reach + 1, math.floor(v) + reach + 1):
                for q in range(math.floor(u) - reach + 1, math.floor(u) + reach + 1):
                    value = S[min(max(p, 0), P - 1), min(max(q, 0), Q - 1)]
                    out[y, x] += kernel(v - p) * kernel(u - q) * value
    return out


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
