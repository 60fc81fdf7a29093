"""Batches of square images, decoded in the background, and reproducible augmentations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..images.read import ImageError, read_rgb, square
from .sets import ImageSet

Batch = tuple[Tensor, dict[int, str]]


def view_of(pixels: Tensor, view: int, index: Sequence[int], seed: int) -> Tensor:
    """One augmented view of square images, uint8 [B,3,S,S]; `index` [B] are their indices in the set.

    View 0 is the image, 1 is mirrored, each later one is a crop of half to all of the area, mirrored or not. It
    depends only on (seed, index, view), not on the batch, shard or process.
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
    """Square pixels, uint8 [B,3,S,S], of each batch of indices; the next batch is decoded in the background.

    Unreadable images are zeros; the second item has their indices with the reason.
    """

    def decode(n: int) -> Tensor | str:
        try:
            return torch.from_numpy(square(read_rgb(images.paths[n]), size).copy()).permute(2, 0, 1)
        except ImageError as error:
            return str(error)

    def gather(batch: Sequence[int], futures: list[Future[Tensor | str]]) -> Batch:
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


def load_squares(images: ImageSet, size: int, tick: Callable[[int, int], None] | None = None) -> Tensor:
    """Decodes all images into memory: uint8 [n, 3, size, size]; `tick(done, total)`: progress callback."""
    out = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor(4) as pool:
        for n, pixels in enumerate(pool.map(lambda path: square(read_rgb(path), size), images.paths)):
            out[n] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
            if tick:
                tick(n + 1, len(images))
    return out


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Random resized crops, flips and colour jitter of images held in memory (uint8 [n,3,S,S])."""

    def __init__(
        self, images: Tensor, labels: Tensor, size: int, crop_area: tuple[float, float], jitter: float
    ) -> None:
        self.images, self.labels = images, labels
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=crop_area, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(jitter, jitter, jitter),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def batches(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(total) in order."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
