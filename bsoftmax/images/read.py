"""Decodes an image file (a path or its bytes) to an upright 8-bit sRGB image; all other code decodes with it.

Handles EXIF orientation, alpha, 16-bit, CMYK, palette, grey and animated images. Decompression bombs, corrupt files
and formats with rarely used decoders raise ImageError.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # MPO is opened by the JPEG plugin, under that name
_NAMES = "jpg jpeg jpe jfif mpo png apng webp bmp gif tif tiff ppm pgm pbm"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split(" "))
MAX_PIXELS = 40_000_000
_ORIENTATION = 0x0112  # the EXIF tag
_ADVICE = f"bring a JPEG, PNG, WebP, GIF, BMP or TIFF of at most {MAX_PIXELS // 1_000_000} megapixels."


class ImageError(ValueError):
    """An image that cannot be read; the message is one sentence for the user."""


def read_rgb(source: str | Path | bytes, side: int | None = None) -> Image.Image:
    """Reads one image as upright 8-bit sRGB without metadata, alpha on white, first frame of an animation.

    `side`: largest side in pixels; larger images are reduced while decoding (same aspect ratio).
    Raises ImageError when the file is missing, not an image, corrupt, or has more than MAX_PIXELS pixels.
    """
    with _opened(source) as image:
        return _upright_rgb(image, side)


def check_header(source: str | Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Size (w, h) of the upright image, from its header alone: corrupt pixel data is not detected.

    `name`: what messages call the image. Raises ImageError as read_rgb does.
    """
    with _opened(source, name) as image:
        width, height = image.size
        return (height, width) if _lies_on_its_side(image) else (width, height)


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether EXIF turns the image by a right angle; a TIFF is turned by Pillow when it is opened."""
    with contextlib.suppress(Exception):  # broken EXIF is ignored, as when the image is read
        # getexif() of a PNG without EXIF would decode it
        if image.format != "TIFF" and "exif" in image.info:
            return image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    return False


@contextlib.contextmanager
def _opened(source: str | Path | bytes, name: str | None = None) -> Iterator[Image.Image]:
    """The image with its header read and its size checked; every error inside the block becomes ImageError."""
    name = name or _name(source)
    if not isinstance(source, bytes):
        _check_file(source, name)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"{name} has {width * height / 1e6:.0f} megapixels: {_ADVICE}")
            yield image
    except ImageError:
        raise
    except PermissionError:
        raise ImageError(f"{name} may not be opened: check its permissions.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{name} has more pixels than can be read safely: {_ADVICE}") from None
    except Exception as error:  # Pillow's decoders raise almost anything on damaged input
        raise ImageError(f"{name} is damaged or not an image: {_ADVICE}") from error


def _name(source: str | Path | bytes) -> str:
    """What messages call the image: its base name, whether the path has / or \\."""
    base = "" if isinstance(source, bytes) else PureWindowsPath(source).name
    return repr(base) if base else "This image"


def _check_file(path: str | Path, name: str) -> None:
    if os.path.isdir(path):
        raise ImageError(f"{name} is a folder: choose a picture in it.")
    if not os.path.isfile(path):  # os.path answers False where Path.is_file raises: NUL bytes, names too long
        raise ImageError(f"There is no file {name}: check the path.")


def _upright_rgb(image: Image.Image, side: int | None) -> Image.Image:
    if side:
        image.draft(None, (side, side))  # JPEG only: decodes at 1/2, 1/4 or 1/8 where that is still large enough
    image.load()
    with contextlib.suppress(Exception):  # broken EXIF is ignored: all pixels have been read
        image = ImageOps.exif_transpose(image)
    # Palette and 16-bit images cannot be filtered, so colour is converted before the reduction.
    image = _to_rgb(image)
    if side and max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    image.info = {}  # the colour profile is outdated now, and EXIF may hold a place
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in ("L", "RGB", "RGBA", "CMYK"):
        image = _to_srgb(image, profile)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The same colours in sRGB; the image unchanged where the profile is broken or does not fit its mode."""
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")  # one per call: profiles may not be thread-safe
        return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as 8 bits: 16-bit divided by 257; 32-bit and float, which define no white, by range.

    Values within [0, 1] are scaled by 255, within [0, 255] kept, integers within [0, 65535] read as 16-bit, and
    others min-max scaled; NaN becomes the smallest value.
    """
    values = np.asarray(image).astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        values = values / 257.0
    elif low < 0 or high > 255:
        values = (values - low) * (255.0 / max(high - low, 1e-30))
    elif high <= 1:
        values = values * 255.0
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The whole image resized to a square without cropping: uint8 [size, size, 3], bicubic with antialiasing."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)
