"""Training the sigmoid branch: features once, then the head alone, by class-balanced binary cross-entropy (Eq. 12)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torchvision.transforms import v2

from .data import ImageSet, batches, square
from .images import read_rgb
from .model import DualBranch


@dataclass(frozen=True)
class BranchConfig:
    """How the branch is trained: SGD with Nesterov momentum, cosine learning rate, on `views` cached views an image."""

    views: int = 2
    epochs: int = 30
    batch: int = 256
    lr: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    init: str = "fresh"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a configuration that cannot train."""
        for name in ("views", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.lr < math.inf:
            raise ValueError(f"lr must be a number of at least 0, got {self.lr}.")


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: mean loss, accuracy of the branch's argmax in percent, seconds so far."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds: float


def balanced_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """L = -1/B sum_n [(1 - 1/C) log s_y + 1/C sum_{k != y} log(1 - s_k)] (Eq. 12): [B,C], [B] -> scalar.

    The same number as binary cross-entropy with positives weighted C-1, averaged over images and classes.
    """
    C = logits.shape[1]
    positives = nnf.one_hot(labels, C).to(logits.dtype)
    return nnf.binary_cross_entropy_with_logits(logits, positives, pos_weight=logits.new_tensor(C - 1.0))


def views_of(pixels: Tensor, views: int, generator: torch.Generator) -> Tensor:
    """Views of square images: as it is, mirrored, then random crops mirrored at random: [B,3,S,S] -> [V,B,3,S,S]."""
    out = [pixels, pixels.flip(3)][:views]
    size = pixels.shape[-1]
    for _ in range(views - 2):
        crops = torch.empty_like(pixels)
        for n, image in enumerate(pixels):
            side = int(size * (0.5 + 0.5 * torch.rand((), generator=generator)) ** 0.5)
            top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for _ in range(2))
            crop = v2.functional.resized_crop(image, top, left, side, side, [size, size], antialias=True)
            crops[n] = crop.flip(2) if torch.rand((), generator=generator) < 0.5 else crop
        out.append(crops)
    return torch.stack(out)


@torch.no_grad()
def extract(
    model: DualBranch, images: ImageSet, views: int = 1, seed: int = 0, batch: int = 64,
    tick: Callable[[int, int], None] | None = None,
) -> Tensor:  # fmt: skip
    """Penultimate vectors [V,n,N_pen] of a data set: V trunk passes, after which no epoch needs the trunk.

    Raises ImageError for a picture that cannot be read.
    """
    size, generator, rows = model.spec.preprocessing.size, torch.Generator().manual_seed(seed), []

    def decode(path) -> Tensor:
        return torch.from_numpy(square(read_rgb(path), size).copy()).permute(2, 0, 1)

    with ThreadPoolExecutor(4) as pool:
        for span in batches(len(images), batch):
            pixels = torch.stack(list(pool.map(decode, images.paths[span])))
            seen = views_of(pixels, views, generator).flatten(0, 1)
            h = torch.cat([model.neck(*model.features(model.normalise(seen[s]))) for s in batches(len(seen), batch)])
            rows.append(h.float().cpu().unflatten(0, (views, len(pixels))))
            if tick:
                tick(span.stop, len(images))
    return torch.cat(rows, dim=1)


def fit(
    branch: nn.Module, h: Tensor, labels: Tensor, config: BranchConfig, val: tuple[Tensor, Tensor] | None = None
) -> Iterator[Epoch]:
    """Trains a branch in place on cached vectors h [V,n,N_pen] and labels [n]; yields after every epoch.

    Every epoch sees each image once, in one of its V views drawn at random. Stop iterating to stop training: what was
    learnt stays in `branch`. `val`: ([m,N_pen], [m]) for the accuracy reported; otherwise it is the training accuracy.
    Raises ValueError when the loss is no longer a number.
    """
    V, n, _ = h.shape
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.SGD(
        branch.parameters(), lr=config.lr, momentum=config.momentum, nesterov=True, weight_decay=config.weight_decay
    )
    steps, start = math.ceil(n / config.batch) * config.epochs, time.monotonic()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(config.epochs):
        branch.train()
        order, view = torch.randperm(n, generator=generator), torch.randint(V, (n,), generator=generator)
        total = hits = 0.0
        for span in batches(n, config.batch):
            index = order[span]
            logits = branch(h[view[index], index])
            loss = balanced_bce(logits, labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
            hits += int((logits.argmax(1) == labels[index]).sum())
        branch.eval()
        if not math.isfinite(total):
            raise ValueError(
                f"The loss left all bounds in epoch {epoch + 1}: train with a learning rate below {config.lr}."
            )
        accuracy = 100 * hits / n if val is None else top1(branch, *val)
        yield Epoch(epoch + 1, config.epochs, total / n, accuracy, time.monotonic() - start)


@torch.no_grad()
def top1(classifier: nn.Module, h: Tensor, labels: Tensor) -> float:
    """Share of images, in percent, whose largest logit is their class."""
    return 100 * (classifier(h).argmax(1) == labels).double().mean().item()
