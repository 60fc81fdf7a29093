"""Turns signed maps into pixels: upsampling, ReLU, scaling, colours and boxes; no other module does.

A map S stays signed and unscaled until `rectify`, `minmax`, `signed` or one of SCALES is applied. Maps are interpolated
first and coloured afterwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, overload

import cv2
import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Array = NDArray[Any]  # of numbers
Box = tuple[int, int, int, int]

SIDE = 224  # pixels of a map in figures, in the demo and in the localisation protocol
MODES = ("bicubic", "bilinear", "nearest")
SEQUENTIAL = ("turbo", "viridis", "inferno", "jet", "gray")
DIVERGING = ("RdBu_r",)
COLOURMAPS = SEQUENTIAL + DIVERGING


def _tensor(S: Array | Tensor) -> Tensor:
    """float32 tensor [..., P, Q]. Raises ValueError for another shape, an empty map, NaN or infinity."""
    # Arrays are copied: torch accepts neither read-only arrays (Pillow's) nor negative strides (a flipped view).
    T = S.detach().float() if isinstance(S, Tensor) else torch.from_numpy(np.array(S, dtype=np.float32, order="C"))
    if T.ndim < 2 or T.numel() == 0:
        raise ValueError(f"Expected a map [..., P, Q] that is not empty, got the shape {tuple(T.shape)}.")
    if not torch.isfinite(T).all():
        raise ValueError("Expected a map of finite numbers, got NaN or infinity in it.")
    return T


P = ParamSpec("P")


class _Step(Protocol[P]):
    """A function of maps: a tensor for a tensor, a NumPy array for an array."""

    @overload
    def __call__(self, S: Tensor, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, S: Array, *args: P.args, **kwargs: P.kwargs) -> NDArray[np.float32]: ...


def _tensors_or_arrays(step: Callable[Concatenate[Tensor, P], Tensor]) -> _Step[P]:
    """Makes a function of tensors accept NumPy arrays too."""

    @functools.wraps(step)
    def call(S: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        result = step(_tensor(S), *args, **kwargs)
        return result if isinstance(S, Tensor) else result.numpy()

    return call


@_tensors_or_arrays
def upsample(S: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
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
    align = None if mode == "nearest" else False
    flat = S.reshape(-1, 1, *S.shape[-2:])
    fine = torch.nn.functional.interpolate(flat, tuple(size), mode=mode, align_corners=align)
    low, high = flat.amin((-2, -1), keepdim=True), flat.amax((-2, -1), keepdim=True)
    # Interpolation of a constant map has errors of 1e-6, which min-max would scale up.
    return torch.where(high > low, fine, low).reshape(*S.shape[:-2], *size)


@_tensors_or_arrays
def enlarge(S: Tensor) -> Tensor:
    """Upsamples maps bicubically to SIDE x SIDE and clips them to their own range: [..., P, Q] -> [..., SIDE, SIDE].

    Without the clip, overshoot would show evidence where the map has none.
    """
    low, high = S.amin((-2, -1), keepdim=True), S.amax((-2, -1), keepdim=True)
    return upsample(S, (SIDE, SIDE)).clamp(low, high)


@_tensors_or_arrays
def rectify(S: Tensor) -> Tensor:
    """Keeps the positive evidence: M = ReLU(S) (Eq. 6); any [..., P, Q], units unchanged."""
    return S.relu()


@_tensors_or_arrays
def minmax(S: Tensor) -> Tensor:
    """Stretches each map to [0, 1]: (S - min S) / (max S - min S) over the last two axes; a constant map becomes 0."""
    low, high = S.amin((-2, -1), keepdim=True), S.amax((-2, -1), keepdim=True)
    return (S - low) / torch.where(high > low, high - low, 1)


@_tensors_or_arrays
def signed(S: Tensor, limit: float) -> Tensor:
    """Divides by one symmetric limit and clips: S / limit in [-1, 1], 0 stays 0; a limit of 0 gives a map of zeros.

    Raises ValueError for a negative or infinite limit.
    """
    if not 0 <= limit < float("inf"):
        raise ValueError(f"Expected a finite limit of at least 0, got {limit}.")
    return (S / limit).clamp(-1, 1) if limit else torch.zeros_like(S)


def shared(maps: Sequence[Array | Tensor]) -> tuple[float, float]:
    """The one range (min, max) of several maps, in their units; ValueError when there are none."""
    if not len(maps):
        raise ValueError("Expected at least one map to take the range of, got none.")
    tensors = [_tensor(S) for S in maps]
    return min(float(T.min()) for T in tensors), max(float(T.max()) for T in tensors)


class Scaled(NamedTuple):
    """A map ready to be coloured: `values` in [0, 1], where 0 stands for `vmin` and 1 for `vmax` (the map's units)."""

    values: Array
    vmin: float
    vmax: float


def _each(maps: Sequence[Array]) -> list[Scaled]:
    """ReLU, then min-max of each map: shapes can be compared, magnitudes cannot."""
    positive = [rectify(np.asarray(S)) for S in maps]
    return [Scaled(minmax(M), float(M.min()), float(M.max())) for M in positive]


def _shared(maps: Sequence[Array]) -> list[Scaled]:
    """ReLU, then 0 to the largest value of all maps: magnitudes of sources with the same unit can be compared."""
    top = max(shared(maps)[1], 0.0)
    return [Scaled(np.clip(signed(np.asarray(S), top), 0, 1), 0.0, top) for S in maps]


def _signed(maps: Sequence[Array]) -> list[Scaled]:
    """No ReLU: -max|S| to max|S| of all maps, zero at 0.5, so that evidence against the class is visible."""
    limit = max(map(abs, shared(maps)))
    return [Scaled((signed(np.asarray(S), limit) + 1) / 2, -limit, limit) for S in maps]


SCALES: dict[str, Callable[[Sequence[Array]], list[Scaled]]] = {
    "each": _each,
    "shared": _shared,
    "signed": _signed,
}


def scaled(maps: Sequence[Array | Tensor], scale: str = "each") -> list[Scaled]:
    """Scales the maps of one figure by one of SCALES; ValueError for another name or for no maps."""
    if scale not in SCALES:
        raise ValueError(f"Expected a scale among {', '.join(SCALES)}, got {scale!r}.")
    if not len(maps):
        raise ValueError("Expected at least one map to show, got none.")
    return SCALES[scale]([_tensor(S).cpu().numpy() for S in maps])


def is_blank(S: Array | Tensor) -> bool:
    """Whether ReLU leaves nothing of a map: all S <= 0, the sign collapse of Sec. 3.2."""
    return not bool((_tensor(S) > 0).any())


def colour(values01: Array, cmap: str = "turbo") -> NDArray[np.uint8]:
    """Colours numbers in [0, 1] (others are clipped) by a matplotlib colour map: [...] -> uint8 RGB [..., 3].

    Raises ValueError for a colour map that is not in COLOURMAPS, or for NaN.
    """
    if cmap not in COLOURMAPS:
        raise ValueError(f"Expected a colour map among {', '.join(COLOURMAPS)}, got {cmap!r}.")
    values = np.asarray(values01, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("Expected finite numbers to colour, got NaN or infinity.")
    rgba: NDArray[np.uint8] = matplotlib.colormaps[cmap](np.clip(values, 0, 1), bytes=True)
    return rgba[..., :3]


def overlay(image: Image.Image, values01: Array, cmap: str = "turbo", opacity: float = 0.55) -> Image.Image:
    """Overlays a coloured map on the whole image: (1 - opacity) image + opacity colour(upsample(values01)).

    [P,Q] in [0, 1] -> RGB of the image's size. The model's input is the image resized to a square, so resizing the
    square map to the image inverts that. Raises ValueError for an opacity outside [0, 1].
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"Expected an opacity between 0 and 1, got {opacity}.")
    top = colour(upsample(np.asarray(values01), (image.height, image.width)), cmap)
    return Image.blend(image.convert("RGB"), Image.fromarray(top), opacity)


def box_at(values01: Array, tau: float) -> Box | None:
    """The box of the largest region above tau times the maximum: (x0, y0, x1, y1), inclusive, in map pixels.

    u = floor(255 values01); region: u > int(tau max u). The largest has the largest contour area (0 for lines and
    points), then the largest bounding box, then is the topmost, then the leftmost. [h,w] in [0, 1], others are clipped.
    None where no value is above. Raises ValueError for a tau outside [0, 1] or a map not [h,w].
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
    x, y, width, height = cv2.boundingRect(max(contours, key=_area))
    return x, y, x + width - 1, y + height - 1


def _area(contour: Array) -> tuple[float, int, int, int]:
    x, y, width, height = cv2.boundingRect(contour)
    return cv2.contourArea(contour), width * height, -y, -x
