"""Limits on the size of data sets, and the sentences that describe them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

KB, MB, GB = 2**10, 2**20, 2**30


@dataclass(frozen=True)
class Limits:
    """How much a data set may hold; sizes in bytes."""

    zip_bytes: int = GB
    members: int = 80_000  # a zip made by macOS has two entries for each image, three with masks
    directory_bytes: int = 32 * MB  # the zip's central directory, which is read at once
    unpacked_bytes: int = 4 * GB
    member_bytes: int = 64 * MB
    text_bytes: int = 16 * MB  # parsing needs many times the size in memory
    ratio: int = 200  # compression of a file over `ratio_from`; about 1 for images, 1,000 for zip bombs
    ratio_from: int = MB
    images: int = 20_000
    classes: int = 1_000
    least_classes: int = 2
    least_images: int = 2  # of a class that is split into training and validation
    depth: int = 20
    name_length: int = 500
    headers: int = 20_000  # image headers of larger sets are not read in advance


LIMITS = Limits()
# On the user's own machine: only the limits against zip bombs apply.
UNLIMITED = Limits(
    zip_bytes=sys.maxsize,
    members=10_000_000,
    directory_bytes=2 * GB,
    unpacked_bytes=sys.maxsize,
    images=sys.maxsize,
    classes=sys.maxsize,
)


def describe(limits: Limits = LIMITS) -> list[str]:
    """The limits in sentences for users."""
    return [
        f"A zip may have up to {bytes_in_words(limits.zip_bytes)} and {limits.members:,} entries, and unpack to "
        f"{bytes_in_words(limits.unpacked_bytes)}; one file to {bytes_in_words(limits.member_bytes)}.",
        f"A data set may hold up to {limits.images:,} images in {limits.least_classes} to {limits.classes:,} classes, "
        f"each with at least {limits.least_images} images.",
        "Archives within the zip, links, and files that are no pictures are passed over and listed.",
    ]


def bytes_in_words(size: int) -> str:
    """A size with its unit: 64 MB, 1.5 GB."""
    for unit, name in ((GB, "GB"), (MB, "MB"), (KB, "KB")):
        if size >= unit:
            return f"{size / unit:,.1f}".removesuffix(".0") + f" {name}"
    return f"{size} bytes"
