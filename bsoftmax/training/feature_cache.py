"""The penultimate vectors of an image set, computed once and cached on disk in shards; a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.loader import decoded, view_of
from ..data.sets import DataError, ImageSet
from ..models import checkpoints
from ..models.checkpoints import COUNTERS
from ..models.dual_branch import DualBranch
from ..utils import files
from ..utils.distributed import Ranks
from .vectors import Shards, Vectors, pack

SHARD_IMAGES, SHARD_BYTES = 512, 64 << 20
SAMPLED_FILES, SAMPLED_BYTES = 64, 1 << 16  # hashed, to tell sets with equal names and sizes apart
STALE_SECONDS = 3600  # older temporary files are of killed processes and are removed
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class Stopped(Exception):  # noqa: N818 (not an error)
    """`stop` returned True; the shards finished so far are kept."""


def fast_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the processor computes in it, else None (float32)."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if device.type == "cpu" and probe is not None and probe() else None


def feature_width(model: DualBranch) -> int:
    """N_pen, the length of the vectors that the neck passes to the classifiers."""
    return next(m for m in model.softmax.modules() if isinstance(m, nn.Linear)).in_features


def bytes_needed(model: DualBranch, n: int, views: int) -> int:
    """2 n views (N_pen + 1): the bytes of n images' vectors on disk, in half precision with one exponent each."""
    return n * views * (feature_width(model) + 1) * 2


def features(
    model: DualBranch, images: ImageSet, root: Path, views: int = 1, seed: int = 0, batch: int = 64,
    tick: Callable[[int, int], None] | None = None, stop: Callable[[], bool] | None = None, precision: str = "auto",
    ranks: Ranks | None = None, warn: Callable[[str], None] | None = None,
) -> Vectors:  # fmt: skip
    """Penultimate vectors of an image set, cached under `root`: V trunk passes the first time, none afterwards.

    A killed run loses only the shard in progress. `tick(done, total)` counts images x views; `stop` is called between
    batches. `precision`: "auto" (bfloat16 where it is fast), "bfloat16" or "float32". Several `ranks` share the shards,
    in a folder that all of them see. Shards that do not match their checksums are made again, which `warn` is told.
    Raises DataError when no image can be read or the disk is full, ValueError for
    another precision, Stopped when `stop` returns True.
    """
    ranks, job = ranks or Ranks(), _Extraction(model, images, Path(root), views, seed, precision)
    mine = list(range(ranks.rank, len(job.shards), ranks.world))
    job.prepare()
    missing = [s for s in mine if not job.shards.complete(s)]
    total, remaining = (views * sum(len(job.shards.indices(s)) for s in shards) for shards in (mine, missing))
    done = total - remaining
    job.check_space(remaining)
    damaged = sum(job.shards.path(s).exists() for s in missing)
    if warn and damaged:
        warn(f"{damaged} of {len(mine)} files of features do not match their checksums: they are made again.")
    if tick and done:
        tick(done, total)
    for count in job.make(missing, batch, stop):
        done += count * views
        if tick:
            tick(done, total)
    ranks.barrier()
    return job.open()


class _Extraction:
    """The features of one image set: what they are computed from, and the shards they are written to."""

    def __init__(self, model: DualBranch, images: ImageSet, root: Path, views: int, seed: int, precision: str) -> None:
        if precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision must be 'auto', 'bfloat16' or 'float32', got {precision!r}.")
        self.model, self.images, self.views, self.seed = model, images, views, seed
        self.dtype = fast_precision(model.device) if precision == "auto" else PRECISIONS[precision]
        size = min(SHARD_IMAGES, max(1, SHARD_BYTES // bytes_needed(model, 1, views)))
        self.manifest = self._describe(size)
        self.key = hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:20]
        self.folder = root / self.key
        self.shards = Shards(self.folder, len(images), size, views, feature_width(model))

    def _describe(self, size: int) -> dict[str, Any]:
        spec, state = self.model.spec, self.model.state_dict()
        frozen = {k: v for k, v in state.items() if k.startswith(("trunk.", "neck.")) and not k.endswith(COUNTERS)}
        return {
            "weights": checkpoints.tensor_hash(frozen), "trunk": spec.trunk, "layer": spec.layer,
            "stride": spec.stride, "preprocessing": asdict(spec.preprocessing), "views": self.views, "seed": self.seed,
            "precision": "bfloat16" if self.dtype else "float32", "images": len(self.images),
            "images_per_shard": size, "files": _files_hash(self.images),
        }  # fmt: skip

    def prepare(self) -> None:
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(".*"):
                with suppress(FileNotFoundError):  # another rank has just renamed it
                    if time.time() - path.stat().st_mtime > STALE_SECONDS:
                        path.unlink()
            files.write_text(self.folder / "manifest.json", json.dumps(self.manifest, indent=1))

    def check_space(self, passes: int) -> None:
        needed, free = bytes_needed(self.model, passes, 1), shutil.disk_usage(self.folder).free
        if needed > free:
            raise DataError(
                f"The features need {needed / 1e9:.2f} GB in {str(self.folder)!r}, where {free / 1e9:.2f} GB are free: "
                "make room there, name another folder or take fewer views."
            )

    def make(self, missing: list[int], batch: int, stop: Callable[[], bool] | None) -> Iterator[int]:
        """Computes and writes these shards; yields the number of images of every batch."""
        spans = []
        for s in missing:
            indices = self.shards.indices(s)
            spans += [(s, indices[start : start + batch]) for start in range(0, len(indices), batch)]
        rows: list[Tensor] = []
        bad: dict[int, str] = {}
        pixels_of = decoded(self.images, (span for _, span in spans), self.model.spec.preprocessing.size)
        for (s, span), (pixels, unread) in zip(spans, pixels_of):
            if stop and stop():
                raise Stopped
            h = self.vectors_of(pixels, span)
            finite = h.isfinite().all(2).all(1)
            bad |= {n: "Its features are not finite." for n, ok in zip(span, finite.tolist()) if not ok} | unread
            rows.append(pack(torch.where(finite[:, None, None], h, 0)))
            if span.stop == self.shards.indices(s).stop:
                self.write(s, torch.cat(rows), bad)
                rows, bad = [], {}
            yield len(span)

    @torch.inference_mode()
    def vectors_of(self, pixels: Tensor, span: Sequence[int]) -> Tensor:
        """Every view of a batch through trunk and neck: float32 [B,V,N_pen]; only the trunk runs in `dtype`."""
        out, device = [], self.model.device
        for view in range(self.views):
            x = self.model.normalise(view_of(pixels, view, span, self.seed))
            with torch.autocast(device.type, self.dtype, enabled=self.dtype is not None):
                F, tokens = self.model.trunk(x.contiguous(memory_format=torch.channels_last))
            h = self.model.neck(F.float(), None if tokens is None else tokens.float())
            out.append(h.cpu())
        return torch.stack(out, 1)

    def write(self, shard: int, rows: Tensor, bad: dict[int, str]) -> None:
        rows[[n - self.shards.indices(shard).start for n in bad]] = 0
        with _writing(self.folder):
            self.shards.write(shard, rows, bad)

    def open(self) -> Vectors:
        bad: dict[int, str] = {}
        for s in range(len(self.shards)):
            if not self.shards.path(s, "json").exists():
                raise DataError(
                    f"Shard {s} of the features is not in {str(self.folder)!r}: the cache folder must be one that all "
                    "machines share."
                )
            bad |= self.shards.bad(s)
        if len(bad) == len(self.images):
            reason = f"; the first: {next(iter(bad.values())).rstrip('.')[:200]}" if bad else ""
            raise DataError(f"None of the {len(self.images)} images could be read{reason}.")
        labels = torch.tensor(self.images.labels, dtype=torch.int64)
        return Vectors(labels, self.views, self.shards.width, self.shards, self.key, bad)


def _files_hash(images: ImageSet) -> str:
    """SHA-256 of the names and sizes of all files in order, and of the first bytes of some of them.

    The bytes distinguish sets of equally large bitmaps named 1.bmp, 2.bmp, ...
    """
    digest, step = hashlib.sha256(), max(1, len(images) // SAMPLED_FILES)
    for n, path in enumerate(images.paths):
        try:
            digest.update(f"{images.name(n)}\t{path.stat().st_size}\n".encode())
            if n % step == 0:
                with open(path, "rb") as file:
                    digest.update(file.read(SAMPLED_BYTES))
        except OSError:  # the loader will report it
            digest.update(f"{images.name(n)}\tabsent\n".encode())
    return digest.hexdigest()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The features could not be written into {str(folder)!r} ({error.strerror}): make room there or name "
            "another folder."
        ) from error
