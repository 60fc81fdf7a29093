"""Penultimate vectors of a set of images, wherever they lie: in memory, or on disk and memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import checkpoints
from ..utils import files

EXPONENT = 15  # stored numbers stay below 2^15: half precision ends at 65504
Shape = tuple[int, int, int]


class Vectors:
    """Penultimate vectors of n images in several views, with labels; those on disk are only read when asked for.

    `labels` int64 [n]. `bad`: the images that could not be read, and why; `good`: the places of the others, int64.
    `key` says what the vectors were made of.
    """

    def __init__(
        self, labels: Tensor, views: int, width: int, read: Callable[[Tensor, Tensor], Tensor], key: str,
        bad: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        self.labels, self.views, self.width, self.key, self._read = labels, views, width, key, read
        self.bad = dict(bad or {})
        readable = torch.ones(len(labels), dtype=torch.bool)
        readable[list(self.bad)] = False
        self.good = readable.nonzero().squeeze(1)

    @classmethod
    def of(cls, h: Tensor, labels: Tensor) -> Vectors:
        """Vectors h [V,n,N_pen] that are in memory, with labels [n]."""
        return cls(labels, len(h), h.shape[2], lambda index, view: h[view, index], checkpoints.tensor_hash({"h": h}))

    @property
    def n(self) -> int:
        """How many images there are, the unreadable ones included."""
        return len(self.labels)

    def take(self, index: Tensor, view: Tensor | int = 0) -> Tensor:
        """The vectors of these images, each in its view: int64 [B] -> float32 [B,N_pen]; zeros for unreadable ones."""
        return self._read(index, torch.as_tensor(view).expand(len(index)))


def pack(h: Tensor) -> Tensor:
    """float32 [...,N] -> float16 [...,N+1]: every vector scaled into half precision, then the power of two it lacks.

    h_i = packed_i 2^packed_N: neither vectors of 1e30 nor of 1e-20 are lost. The relative error is at most 2^-11 for
    numbers within 2^-29 of the vector's largest.
    """
    exponent = (torch.frexp(h.abs().amax(-1, keepdim=True)).exponent - EXPONENT).clamp(min=-100)
    return torch.cat([torch.ldexp(h, -exponent), exponent.to(h.dtype)], -1).half()


def unpack(rows: Tensor) -> Tensor:
    """What `pack` made, back: float16 [...,N+1] -> float32 [...,N]."""
    rows = rows.float()
    return torch.ldexp(rows[..., :-1], rows[..., -1:])


class Shards:
    """The packed vectors [n,V,N_pen+1] of a folder, `size` images a file: `000000.npy`, and its bad images as JSON."""

    def __init__(self, folder: Path, n: int, size: int, views: int, width: int) -> None:
        self.folder, self.n, self.size, self.views, self.width = folder, n, size, views, width
        self._maps: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def places(self, shard: int) -> range:
        """The images of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.n))

    def shape(self, shard: int) -> Shape:
        """What a shard's file holds: images, views, numbers."""
        return len(self.places(shard)), self.views, self.width + 1

    def path(self, shard: int, suffix: str = "npy") -> Path:
        """Where a shard lies."""
        return self.folder / f"{shard:06d}.{suffix}"

    def bad(self, shard: int) -> dict[int, str]:
        """The shard's images that could not be read, and why. Raises ValueError or OSError where that is not known."""
        found = json.loads(self.path(shard, "json").read_text(encoding="utf-8"))
        return {int(n): str(why) for n, why in dict(found).items()}

    def complete(self, shard: int) -> bool:
        """Whether the shard is there, whole, and holds nothing but numbers."""
        try:
            self.bad(shard)
            rows = self._header(shard)
        except (OSError, ValueError, TypeError, EOFError):
            return False
        return bool(np.isfinite(rows).all())

    def write(self, shard: int, rows: Tensor, bad: Mapping[int, str]) -> None:
        """Writes a shard, packed [n,V,N_pen+1], so that it is seen whole or not at all. Raises OSError."""
        files.write_text(self.path(shard, "json"), json.dumps(dict(bad)))
        with files.atomic_path(self.path(shard)) as name, open(name, "wb") as file:
            np.save(file, rows.numpy(), allow_pickle=False)

    def _header(self, shard: int) -> np.memmap:
        rows = np.load(self.path(shard), mmap_mode="r", allow_pickle=False)
        if rows.shape != self.shape(shard) or rows.dtype != np.float16 or not rows.flags.c_contiguous:
            raise ValueError("The shard is of another shape.")
        return rows

    def _map(self, shard: int) -> Tensor:
        if shard not in self._maps:
            rows = self._header(shard)  # only for where the numbers begin: NumPy keeps a file open for every map
            start, path = rows.offset // 2, str(self.path(shard))
            whole = torch.from_file(path, shared=False, size=start + rows.size, dtype=torch.float16)
            self._maps[shard] = whole[start:].view(rows.shape)
        return self._maps[shard]

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        """The vectors of these images, each in its view: float32 [B,N_pen]."""
        rows = torch.empty(len(index), self.width + 1, dtype=torch.float16)
        shard = index // self.size
        for s in shard.unique().tolist():
            here = (shard == s).nonzero().squeeze(1)
            rows[here] = self._map(s)[index[here] - s * self.size, view[here]]
        return unpack(rows)
