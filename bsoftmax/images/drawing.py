"""Draws the images of the sample data set: objects of six classes with exact boxes and masks.

Colours, background, position, size, rotation and clutter are random, so that no colour identifies a class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float64]
Texture = Callable[[Array, Array], Array]  # u, v in the object's square -> share of its second colour
Points = list[tuple[float, float]]
Part = tuple[int, Texture, Points]
Box = tuple[int, int, int, int]
_OVERSAMPLING = 2  # drawn this many times larger, then averaged
_HALF_SIDE = (0.31, 0.38)  # of the object's square, as a share of the shorter image side
_CONTRAST = 0.35  # of the background, low so that the object's texture stands out
_MAX_CLUTTER, _NOISE = 3, 3


def _rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _oval(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Points:
    return [(x + rx * np.cos(t), y + ry * np.sin(t)) for t in np.radians(np.linspace(start, end, 49))]


def _ring(x: float, y: float, outer: float, inner: float) -> Points:
    return _oval(x, y, outer, outer) + _oval(x, y, inner, inner)[::-1]


def _blade(angle: float) -> Points:
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    blade = [(0.05, -0.06), (0.85, -0.2), (0.85, 0.1), (0.05, 0.06)]
    return [(c * x - s * y, s * x + c * y - 0.25) for x, y in blade]


def _plain(u: Array, v: Array) -> Array:
    return np.zeros(np.broadcast(u, v).shape)


def _boards(u: Array, v: Array) -> Array:
    return ((v * 6) % 1 > 0.8) + 0.0 * u


def _cloth(u: Array, v: Array) -> Array:
    return ((u * 4) % 1 > 0.5) + 0.0 * v


def _scales(u: Array, v: Array) -> Array:
    row = np.floor(v * 7)
    x, y = (u * 7 + 0.5 * (row % 2)) % 1 - 0.5, (v * 7) % 1
    return (np.abs(np.hypot(x, y) - 0.6) < 0.14).astype(np.float64)


def _wall(u: Array, v: Array) -> Array:
    row = np.floor(v * 6)
    return (((v * 6) % 1 < 0.18) | ((u * 3 + 0.5 * (row % 2)) % 1 < 0.1)).astype(np.float64)


def _tiles(u: Array, v: Array) -> Array:
    return 0.7 * ((v * 7) % 1) + 0.3 * ((u * 9 + 0.5 * (np.floor(v * 7) % 2)) % 1 > 0.85)


def _lattice(u: Array, v: Array) -> Array:
    return ((((u + v) * 6) % 1 < 0.35) | (((u - v) * 6) % 1 < 0.35)).astype(np.float64)


def _fibres(u: Array, v: Array) -> Array:
    wave: Array = np.sin(60 * u + 4 * np.sin(5 * v))
    return 0.5 + 0.5 * wave


def _metal(u: Array, v: Array) -> Array:
    wave: Array = np.cos(9 * (u + v)) ** 8
    return wave


# The parts of each object, from back to front, within [-1, 1]; y points down. Parts with the same number share colours.
KINDS: dict[str, list[Part]] = {
    "boat": [
        (0, _boards, [(-0.95, 0.35), (0.95, 0.35), (0.6, 0.85), (-0.65, 0.85)]),
        (1, _plain, _rect(-0.04, -0.95, 0.05, 0.35)),
        (2, _cloth, [(0.1, -0.85), (0.8, 0.22), (0.1, 0.22)]),
        (2, _cloth, [(-0.1, -0.65), (-0.1, 0.22), (-0.65, 0.22)]),
    ],
    "fish": [
        (1, _fibres, [(-0.4, 0.0), (-0.95, -0.5), (-0.8, 0.0), (-0.95, 0.5)]),
        (1, _fibres, [(-0.15, -0.35), (0.2, -0.75), (0.35, -0.3)]),
        (0, _scales, _oval(0.15, 0.0, 0.8, 0.45)),
        (1, _fibres, [(0.0, 0.05), (-0.25, 0.35), (0.2, 0.22)]),
        (3, _plain, _oval(0.65, -0.1, 0.1, 0.1)),
    ],
    "house": [
        (3, _wall, _rect(0.4, -0.85, 0.62, -0.2)),
        (0, _wall, _rect(-0.75, -0.15, 0.75, 0.9)),
        (1, _tiles, [(-0.95, -0.1), (0.0, -0.9), (0.95, -0.1)]),
        (2, _plain, _rect(-0.5, 0.25, -0.1, 0.9)),
        (3, _plain, _rect(0.2, 0.15, 0.55, 0.5)),
    ],
    "key": [
        (0, _metal, _ring(-0.5, 0.0, 0.45, 0.22)),
        (0, _metal, _rect(-0.08, -0.1, 0.95, 0.1)),
        (0, _metal, _rect(0.5, 0.05, 0.64, 0.4)),
        (0, _metal, _rect(0.78, 0.05, 0.95, 0.5)),
    ],
    "mushroom": [
        (0, _fibres, [(-0.22, 0.0), (0.22, 0.0), (0.34, 0.9), (-0.34, 0.9)]),
        (1, _plain, _oval(0.0, 0.12, 0.9, 0.95, 180, 360)),
        (2, _plain, _oval(-0.4, -0.25, 0.17, 0.15)),
        (2, _plain, _oval(0.1, -0.5, 0.18, 0.15)),
        (2, _plain, _oval(0.5, -0.12, 0.14, 0.12)),
    ],
    "windmill": [
        (0, _boards, [(-0.2, -0.25), (0.2, -0.25), (0.42, 0.95), (-0.42, 0.95)]),
        (1, _plain, _rect(-0.12, 0.6, 0.12, 0.95)),
        *[(2, _lattice, _blade(angle)) for angle in (25, 115, 205, 295)],
        (3, _plain, _oval(0.0, -0.25, 0.12, 0.12)),
    ],
}


def draw_image(
    kind: str, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Image.Image, NDArray[np.bool_], Box]:
    """Draws one object in an image of (w, h) pixels: RGB, its mask bool [h, w], its inclusive box in pixels."""
    fine = (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING)
    image = _background(fine, rng)
    _draw_clutter(image, rng)
    drawn, shape = _object(KINDS[kind], fine, rng)
    shadow = shape.filter(ImageFilter.GaussianBlur(2 * _OVERSAMPLING)).point(lambda v: v // 2)
    image.paste((0, 0, 0), (2 * _OVERSAMPLING, 3 * _OVERSAMPLING), shadow)
    image.paste(drawn, mask=shape)
    mask = np.asarray(shape.reduce(_OVERSAMPLING)) >= 128
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    noise = rng.normal(0, _NOISE, (size[1], size[0], 1))
    pixels = np.clip(np.asarray(image.reduce(_OVERSAMPLING)) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), mask, (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))


def _object(parts: list[Part], size: tuple[int, int], rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """The coloured parts, and the mask of all of them."""
    pose, shape = _pose(size, rng), Image.new("L", size)
    inverse = np.linalg.inv(pose)
    y, x = np.mgrid[: size[1], : size[0]]
    u, v = (inverse[i, 0] * x + inverse[i, 1] * y + inverse[i, 2] for i in range(2))
    pixels = np.zeros((size[1], size[0], 3))
    colours = [_colours(rng) for _ in range(1 + max(number for number, _, _ in parts))]
    for number, texture, points in parts:
        part = Image.new("L", size)
        ImageDraw.Draw(part).polygon([tuple(pose[:2] @ (*point, 1)) for point in points], fill=255)
        inside = np.asarray(part) > 0
        one, other = colours[number]
        pixels[inside] = one + texture(u[inside], v[inside])[:, None] * (other - one)
        shape.paste(255, mask=part)
    pixels *= 1 + 0.2 * np.cos(rng.uniform(0, 2 * np.pi) + u + v)[..., None]  # light from one side
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), shape


def _pose(size: tuple[int, int], rng: np.random.Generator) -> Array:
    """A random affine map [3, 3] of [-1, 1] x [-1, 1] into the image: mirrored or not, rotated, scaled, shifted."""
    half = rng.uniform(*_HALF_SIDE) * min(size)
    angle, mirror = np.radians(rng.uniform(-25, 25)), rng.choice([-1, 1])
    reach = 1.3 * half  # of a corner of the rotated square
    x, y = (rng.uniform(reach, side - reach) for side in size)
    c, s = half * np.cos(angle), half * np.sin(angle)
    return np.array([[c * mirror, -s, x], [s * mirror, c, y], [0, 0, 1]])


def _colour(rng: np.random.Generator, saturation: tuple[int, int], value: tuple[int, int]) -> Array:
    """RGB of any hue, with saturation and value from these ranges (of 255)."""
    hsv = (int(rng.integers(256)), int(rng.integers(*saturation)), int(rng.integers(*value)))
    return np.array(Image.new("HSV", (1, 1), hsv).convert("RGB").getpixel((0, 0)), dtype=np.float64)


def _colours(rng: np.random.Generator) -> tuple[Array, Array]:
    """A light and a dark colour, in either order."""
    pair = (_colour(rng, (60, 200), (190, 256)), _colour(rng, (100, 230), (50, 120)))
    return pair if rng.integers(2) else pair[::-1]


def _background(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Two colours of low saturation mixed by a texture."""
    share = _BACKGROUNDS[rng.integers(len(_BACKGROUNDS))](size, rng)
    share = 0.5 * share + 0.5 * _clouds(size, rng)
    one, other = (_colour(rng, (10, 110), (70, 230)) for _ in range(2))
    return Image.fromarray((one + _CONTRAST * share[..., None] * (other - one)).clip(0, 255).astype(np.uint8))


def _clouds(size: tuple[int, int], rng: np.random.Generator) -> Array:
    total = np.zeros((size[1], size[0]))
    for cells in (3, 6, 12, 24):
        noise = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
        total += np.asarray(noise.resize(size, Image.Resampling.BICUBIC)) * 3 / cells
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def _rotated_grid(size: tuple[int, int], rng: np.random.Generator) -> tuple[Array, Array]:
    """Coordinates u, v of every pixel in a randomly rotated grid."""
    angle, cells = rng.uniform(0, np.pi), rng.uniform(5, 14)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    scale = cells / min(size)
    return scale * (np.cos(angle) * x + np.sin(angle) * y), scale * (np.cos(angle) * y - np.sin(angle) * x)


def _stripes(size: tuple[int, int], rng: np.random.Generator) -> Array:
    return 0.5 + 0.5 * np.sin(2 * np.pi * _rotated_grid(size, rng)[0])


def _checks(size: tuple[int, int], rng: np.random.Generator) -> Array:
    u, v = _rotated_grid(size, rng)
    return (np.floor(u) + np.floor(v)) % 2


def _bricks(size: tuple[int, int], rng: np.random.Generator) -> Array:
    u, v = _rotated_grid(size, rng)
    u = u / 2 + 0.5 * (np.floor(v) % 2)
    return ((u % 1 > 0.06) & (v % 1 > 0.12)).astype(np.float64)


def _dots(size: tuple[int, int], rng: np.random.Generator) -> Array:
    u, v = _rotated_grid(size, rng)
    return (np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3).astype(np.float64)


_BACKGROUNDS = (_clouds, _stripes, _checks, _bricks, _dots)


def _draw_clutter(image: Image.Image, rng: np.random.Generator) -> None:
    """Draws lines, discs, triangles and arcs that belong to no class."""
    draw, (w, h) = ImageDraw.Draw(image), image.size
    for _ in range(rng.integers(1, _MAX_CLUTTER + 1)):
        colour, width = tuple(_colour(rng, (10, 230), (70, 256)).astype(int)), int(rng.integers(1, 4)) * _OVERSAMPLING
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.04, 0.1) * min(w, h)
        around = [(x + dx, y + dy) for dx, dy in rng.uniform(-2 * r, 2 * r, (4, 2))]
        match rng.integers(4):
            case 0:
                draw.line(around, fill=colour, width=width)
            case 1:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
            case 2:
                draw.polygon(around[:3], fill=colour)
            case _:
                draw.arc((x - 2 * r, y - 2 * r, x + 2 * r, y + 2 * r), 20, 250, fill=colour, width=width)
