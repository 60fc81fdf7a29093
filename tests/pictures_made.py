"""Pictures made byte by byte, and read back."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import ImageCms

from bsoftmax.images.read import read_rgb

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(source, side=None):
    return np.asarray(read_rgb(source, side))


def png(width, height, rows=b"", bits=8, kind=2):
    """A PNG whose header claims any size: only the bytes given follow it."""

    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def swapped_profile():
    """sRGB with the red and green primaries swapped: what is stored as red must come out green."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    tags = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * count, 12)}
    r, g = tags[b"rXYZ"], tags[b"gXYZ"]
    data[r + 4 : r + 12], data[g + 4 : g + 12] = data[g + 4 : g + 12], data[r + 4 : r + 12]
    return bytes(data)
