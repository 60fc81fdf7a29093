"""Pictures as batches of square pixels: decoded while the last batch is used, and in views that a seed repeats."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from .data import ImageSet, square
from .images import ImageError, read_rgb

Batch = tuple[Tensor, dict[int, str]]


def view_of(pixels: Tensor, view: int, index: Sequence[int], seed: int) -> Tensor:
    """One view of square images, uint8 [B,3,S,S], whose places in their set are `index` [B].

    View 0 is the image, 1 its mirror, each later one a crop of half to all of the area, mirrored or not, that depends
    on (seed, place, view) alone: never on batch, shard or process.
    """
    if view < 2:
        return pixels.flip(3) if view else pixels
    size, out = pixels.shape[-1], torch.empty_like(pixels)
    for row, image, n in zip(out, pixels, index):
        rng = np.random.default_rng([seed, int(n), view])
        side = int(size * rng.uniform(0.5, 1) ** 0.5)
        top, left = rng.integers(size - side + 1, size=2).tolist()
        crop = v2.functional.resized_crop(image, top, left, side, side, [size, size], antialias=True)
        row.copy_(crop.flip(2) if rng.random() < 0.5 else crop)
    return out


def decoded(images: ImageSet, batches: Iterable[Sequence[int]], size: int) -> Iterator[Batch]:
    """Square pixels, uint8 [B,3,S,S], of each batch of places; the next batch is decoded while one is used.

    Pictures that cannot be read come as zeros, and their places with the reason.
    """

    def decode(n: int) -> Tensor | str:
        try:
            return torch.from_numpy(square(read_rgb(images.paths[n]), size).copy()).permute(2, 0, 1)
        except ImageError as error:
            return str(error)

    def gather(batch: Sequence[int], futures: list[Future]) -> Batch:
        found = [future.result() for future in futures]
        bad = {int(n): value for n, value in zip(batch, found) if isinstance(value, str)}
        blank = torch.zeros(3, size, size, dtype=torch.uint8)
        return torch.stack([blank if isinstance(value, str) else value for value in found] or [blank])[
            : len(batch)
        ], bad

    pool, ahead = ThreadPoolExecutor(max(4, min(16, os.cpu_count() or 1))), None
    try:
        for batch in batches:
            ahead, ready = (batch, [pool.submit(decode, int(n)) for n in batch]), ahead
            if ready:
                yield gather(*ready)
        if ahead:
            yield gather(*ahead)
    finally:
        pool.shutdown(cancel_futures=True)
