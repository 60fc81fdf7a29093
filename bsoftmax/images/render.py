"""Maps into pixels: the only module that does so, and every step on the way has a name.

A map S is signed and unscaled until somebody calls `rectify`, `minmax`, `shared` or `signed`, or picks a scale from
SCALES. Numbers are interpolated first and coloured afterwards, never the other way round.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import cv2
import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

Map = TypeVar("Map", np.ndarray, Tensor)
Box = tuple[int, int, int, int]

SIDE = 224  # pixels of a map as it is shown, and as the localisation protocol scores it
MODES = ("bicubic", "bilinear", "nearest")
SEQUENTIAL = ("turbo", "viridis", "inferno", "jet", "gray")
DIVERGING = ("RdBu_r",)
COLOURMAPS = SEQUENTIAL + DIVERGING


def _tensor(S: np.ndarray | Tensor) -> Tensor:
    """float32 tensor of [..., P, Q] finite numbers; ValueError for anything else, since a picture would hide it."""
    # NumPy is copied: torch accepts neither read-only arrays (Pillow's) nor negative strides (a flipped view).
    T = S.detach().float() if isinstance(S, Tensor) else torch.from_numpy(np.array(S, dtype=np.float32, order="C"))
    if T.ndim < 2 or T.numel() == 0:
        raise ValueError(f"Expected a map [..., P, Q] that is not empty, got the shape {tuple(T.shape)}.")
    if not torch.isfinite(T).all():
        raise ValueError("Expected a map of finite numbers, got NaN or infinity in it.")
    return T


def _either(step: Callable[..., Tensor]) -> Callable[..., Map]:
    """Lets a step written for tensors take NumPy arrays too: what comes in goes out."""

    @functools.wraps(step)
    def call(S: Map, *args: object, **options: object) -> Map:
        result = step(_tensor(S), *args, **options)
        return result if isinstance(S, Tensor) else result.numpy()

    return call


@_either
def upsample(S: Map, size: tuple[int, int], mode: str = "bicubic") -> Map:
    """Interpolates maps to `size` = (height, width), pixel centres at half-integers (align_corners=False).

    [B,P,Q] or [P,Q] -> [B,h,w] or [h,w]; bicubic is Keys' kernel with a = -0.75 (as in OpenCV) and may overshoot.
    Raises ValueError for another mode or a size below 1.
    """
    if mode not in MODES:
        raise ValueError(f"Expected an interpolation among {', '.join(MODES)}, got {mode!r}.")
    if min(size) < 1:
        raise ValueError(f"Expected a size (height, width) of at least 1 pixel, got {tuple(size)}.")
    if S.shape[-2:] == tuple(size):
        return S
    smooth = {} if mode == "nearest" else {"align_corners": False}
    flat = S.reshape(-1, 1, *S.shape[-2:])
    fine = torch.nn.functional.interpolate(flat, tuple(size), mode=mode, **smooth)
    low, high = flat.amin((-2, -1), keepdim=True), flat.amax((-2, -1), keepdim=True)
    # A constant map comes out with ripples of one part in a million, which a min-max would blow up into a picture.
    return torch.where(high > low, fine, low).reshape(*S.shape[:-2], *size)


@_either
def enlarge(S: Map) -> Map:
    """The map as it is shown, on the page and in figures: bicubic to SIDE x SIDE, kept within the map's own range.

    [..., P, Q] -> [..., SIDE, SIDE]; without the clip, overshoot would show evidence where the map has none.
    """
    low, high = S.amin((-2, -1), keepdim=True), S.amax((-2, -1), keepdim=True)
    return upsample(S, (SIDE, SIDE)).clamp(low, high)


@_either
def rectify(S: Map) -> Map:
    """Keeps the positive evidence: M = ReLU(S) (Eq. 6); any [..., P, Q], units unchanged."""
    return S.relu()


@_either
def minmax(S: Map) -> Map:
    """Stretches each map to [0, 1]: (S - min S) / (max S - min S) over the last two axes; a constant map becomes 0."""
    low, high = S.amin((-2, -1), keepdim=True), S.amax((-2, -1), keepdim=True)
    return (S - low) / torch.where(high > low, high - low, 1)


@_either
def signed(S: Map, limit: float) -> Map:
    """Divides by one symmetric limit and clips: S / limit in [-1, 1], 0 stays 0; a limit of 0 gives a map of zeros.

    Raises ValueError for a negative or infinite limit.
    """
    if not 0 <= limit < float("inf"):
        raise ValueError(f"Expected a finite limit of at least 0, got {limit}.")
    return (S / limit).clamp(-1, 1) if limit else torch.zeros_like(S)


def shared(maps: Sequence[np.ndarray | Tensor]) -> tuple[float, float]:
    """The one range (min, max) of several maps, in their units; ValueError when there are none."""
    if not len(maps):
        raise ValueError("Expected at least one map to take the range of, got none.")
    tensors = [_tensor(S) for S in maps]
    return min(float(T.min()) for T in tensors), max(float(T.max()) for T in tensors)


class Scaled(NamedTuple):
    """A map ready to be coloured: `values` in [0, 1], where 0 stands for `vmin` and 1 for `vmax` (the map's units)."""

    values: np.ndarray
    vmin: float
    vmax: float


def _each(maps: Sequence[np.ndarray]) -> list[Scaled]:
    """ReLU, then min-max of every map for itself: shapes can be compared, strengths cannot."""
    positive = [rectify(np.asarray(S)) for S in maps]
    return [Scaled(minmax(M), float(M.min()), float(M.max())) for M in positive]


def _shared(maps: Sequence[np.ndarray]) -> list[Scaled]:
    """ReLU, then 0 to the largest value of all maps shown: strengths can be compared, for sources of one unit."""
    top = max(shared(maps)[1], 0.0)
    return [Scaled(np.clip(signed(np.asarray(S), top), 0, 1), 0.0, top) for S in maps]


def _signed(maps: Sequence[np.ndarray]) -> list[Scaled]:
    """No ReLU; -max|S| to max|S| of all maps shown, 0.5 stands for zero: evidence against the class is seen too."""
    limit = max(map(abs, shared(maps)))
    return [Scaled((signed(np.asarray(S), limit) + 1) / 2, -limit, limit) for S in maps]


SCALES: dict[str, Callable[[Sequence[np.ndarray]], list[Scaled]]] = {
    "each": _each,
    "shared": _shared,
    "signed": _signed,
}


def scaled(maps: Sequence[np.ndarray | Tensor], scale: str = "each") -> list[Scaled]:
    """Puts the maps that are shown together on one of SCALES; ValueError for another name or for no maps."""
    if scale not in SCALES:
        raise ValueError(f"Expected a scale among {', '.join(SCALES)}, got {scale!r}.")
    if not len(maps):
        raise ValueError("Expected at least one map to show, got none.")
    return SCALES[scale]([_tensor(S).cpu().numpy() for S in maps])


def is_blank(S: np.ndarray | Tensor) -> bool:
    """Whether ReLU leaves nothing of a map: all S <= 0, the sign collapse of Sec. 3.2."""
    return not bool((_tensor(S) > 0).any())


def colour(values01: np.ndarray, cmap: str = "turbo") -> np.ndarray:
    """Colours numbers in [0, 1] (others are clipped) by a matplotlib colour map: [...] -> uint8 RGB [..., 3].

    Raises ValueError for a colour map that is not in COLOURMAPS, or for NaN.
    """
    if cmap not in COLOURMAPS:
        raise ValueError(f"Expected a colour map among {', '.join(COLOURMAPS)}, got {cmap!r}.")
    values = np.asarray(values01, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("Expected finite numbers to colour, got NaN or infinity.")
    return matplotlib.colormaps[cmap](np.clip(values, 0, 1), bytes=True)[..., :3]


def overlay(image: Image.Image, values01: np.ndarray, cmap: str = "turbo", opacity: float = 0.55) -> Image.Image:
    """Lays a coloured map over the whole picture: (1 - opacity) image + opacity colour(upsample(values01)).

    [P,Q] in [0, 1] -> RGB of the image's own size. The model saw the picture squeezed to a square, so stretching the
    square map over the picture undoes exactly that. Raises ValueError for an opacity outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"Expected an opacity between 0 and 1, got {opacity}.")
    top = colour(upsample(np.asarray(values01), (image.height, image.width)), cmap)
    return Image.blend(image.convert("RGB"), Image.fromarray(top), opacity)


def box_at(values01: np.ndarray, tau: float) -> Box | None:
    """The box around the largest region above a share tau of the maximum: (x0, y0, x1, y1), inclusive, in map pixels.

    u = floor(255 values01); region = u > int(tau max u), strictly; largest by contour area, equal areas by their
    bounding box, then from the top left (lines and points have the area 0). [h,w] in [0, 1], others are clipped.
    None for an empty map or when nothing lies above. Raises ValueError for a tau outside [0, 1] or a map not [h,w].
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"Expected tau between 0 and 1, got {tau}.")
    levels = np.floor(255 * np.clip(_tensor(values01).cpu().numpy(), 0, 1)).astype(np.uint8)
    if levels.ndim != 2:
        raise ValueError(f"Expected one map [h, w], got the shape {levels.shape}.")
    region = (levels > int(tau * int(levels.max()))).astype(np.uint8)
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    x, y, width, height = cv2.boundingRect(max(contours, key=_largest))
    return x, y, x + width - 1, y + height - 1


def _largest(contour: np.ndarray) -> tuple[float, int, int, int]:
    x, y, width, height = cv2.boundingRect(contour)
    return cv2.contourArea(contour), width * height, -y, -x
