"""Penultimate vectors of an image set, in memory or memory-mapped from disk."""

from __future__ import annotations

import hashlib
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
    """Penultimate vectors of n images in several views, with labels; vectors on disk are read on demand.

    `labels` int64 [n]. `bad`: index -> reason of the images that could not be read; `good`: the indices of the others,
    int64. `key` identifies what the vectors were computed from.
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
        """The number of images, unreadable ones included."""
        return len(self.labels)

    def take(self, index: Tensor, view: Tensor | int = 0) -> Tensor:
        """The vectors of these images, each in its view: int64 [B] -> float32 [B,N_pen]; zeros for unreadable ones."""
        return self._read(index, torch.as_tensor(view).expand(len(index)))


def pack(h: Tensor) -> Tensor:
    """float32 [...,N] -> float16 [...,N+1]: every vector scaled by a power of two, and its exponent.

    h_i = packed_i 2^packed_N, so that vectors of 1e30 and of 1e-20 survive. The relative error is at most 2^-11 for
    numbers above 2^-29 of the vector's largest.
    """
    exponent = (torch.frexp(h.abs().amax(-1, keepdim=True)).exponent - EXPONENT).clamp(min=-100)
    return torch.cat([torch.ldexp(h, -exponent), exponent.to(h.dtype)], -1).half()


def unpack(rows: Tensor) -> Tensor:
    """The inverse of `pack`: float16 [...,N+1] -> float32 [...,N]."""
    rows = rows.float()
    return torch.ldexp(rows[..., :-1], rows[..., -1:])


class Shards:
    """The packed vectors [n,V,N_pen+1] of a folder: `size` images a file, 000000.npy, their checksum in 000000.json."""

    def __init__(self, folder: Path, n: int, size: int, views: int, width: int) -> None:
        self.folder, self.n, self.size, self.views, self.width = folder, n, size, views, width
        self._maps: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def indices(self, shard: int) -> range:
        """The indices of a shard's images."""
        return range(shard * self.size, min((shard + 1) * self.size, self.n))

    def shape(self, shard: int) -> Shape:
        """(images, views, N_pen + 1) of a shard's array."""
        return len(self.indices(shard)), self.views, self.width + 1

    def path(self, shard: int, suffix: str = "npy") -> Path:
        """The path of a shard's file."""
        return self.folder / f"{shard:06d}.{suffix}"

    def bad(self, shard: int) -> dict[int, str]:
        """Index -> reason of a shard's unreadable images. Raises ValueError or OSError where its file is damaged."""
        return self._described(shard)[1]

    def complete(self, shard: int) -> bool:
        """Whether the shard exists, is of the right shape, and has the checksum that was written beside it."""
        try:
            checksum, bad = self._described(shard)
            self._header(shard)
            return checksum == self._checksum(self.path(shard), bad)
        except (OSError, ValueError, TypeError, EOFError):
            return False

    def _described(self, shard: int) -> tuple[str, dict[int, str]]:
        """The checksum of a shard, and its unreadable images. Raises ValueError, TypeError or OSError if damaged."""
        found = json.loads(self.path(shard, "json").read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("unreadable"), dict):
            raise ValueError("The shard's description is of another form.")
        bad = {int(n): str(reason) for n, reason in found["unreadable"].items()}
        if not bad.keys() <= set(self.indices(shard)):
            raise ValueError("The shard names images that are not its own.")
        return str(found.get("sha256")), bad

    @staticmethod
    def _checksum(path: Path, bad: Mapping[int, str]) -> str:
        """SHA-256 of a shard's file and of what is said of its unreadable images."""
        said = json.dumps(sorted(bad.items()))
        return hashlib.sha256(f"{files.file_hash(path)}|{said}".encode()).hexdigest()

    def write(self, shard: int, rows: Tensor, bad: Mapping[int, str]) -> None:
        """Writes a shard, packed [n,V,N_pen+1], atomically. Raises OSError."""
        with files.atomic_path(self.path(shard)) as name, open(name, "wb") as file:
            np.save(file, rows.numpy(), allow_pickle=False)
        described = {"sha256": self._checksum(self.path(shard), bad), "unreadable": dict(bad)}
        files.write_text(self.path(shard, "json"), json.dumps(described))  # last: without it the shard is not complete

    def _header(self, shard: int) -> np.memmap:
        rows: np.memmap = np.load(self.path(shard), mmap_mode="r", allow_pickle=False)
        if rows.shape != self.shape(shard) or rows.dtype != np.float16 or not rows.flags.c_contiguous:
            raise ValueError("The shard is of another shape.")
        return rows

    def _map(self, shard: int) -> Tensor:
        if shard not in self._maps:
            rows = self._header(shard)  # only for its offset: NumPy keeps a file open for every memory map
            start, path = rows.offset // 2, str(self.path(shard))
            whole = torch.from_file(path, shared=False, size=start + rows.size, dtype=torch.float16)
            self._maps[shard] = whole[start:].view(rows.shape)
        return self._maps[shard]

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        """The vectors of these images, each in its view: float32 [B,N_pen]."""
        rows = torch.empty(len(index), self.width + 1, dtype=torch.float16)
        shard = index // self.size
        for s in sorted(set(shard.tolist())):
            here = (shard == s).nonzero().squeeze(1)
            rows[here] = self._map(s)[index[here] - s * self.size, view[here]]
        return unpack(rows)
