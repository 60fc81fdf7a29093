"""Stage 1 through the trunk: the softmax head and the trunk's last stage on one's own images, the rest frozen."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..data.loader import batches, decoded, view_of
from ..data.sets import DataError, ImageSet
from ..models import checkpoints
from ..models.dual_branch import COUNTERS, DualBranch
from ..models.surgery import ClassTokenNeck
from ..utils.distributed import Ranks
from .feature_cache import fast_precision
from .fitting import agreed, gathered, scores
from .loop import BranchConfig, Epoch, check_finite, keep, resume, set_lr, sgd

CONTAINERS = ("stages", "blocks", "layers", "features")  # what timm calls the list of a network's stages
FIRST_CROP = 2  # views 0 and 1 are the image and its mirror; later ones are crops


@dataclass(frozen=True)
class FinetuneConfig(BranchConfig):
    """How trunk and head are trained together; `views` means nothing here: every epoch sees fresh crops."""

    views: int = 1
    epochs: int = 8
    batch: int = 32
    lr: float = 0.01
    weight_decay: float = 1e-4


def last_stage(model: DualBranch) -> list[str]:
    """Beginnings of the names of the parameters of the trunk's last stage, and of the neck behind it.

    The last of a network's stages and what follows it (ResNet's layer4, ConvNeXt's stages.3, Inception's Mixed_7); in a
    plain stack of layers, those after the last pool that has any behind it (VGG).
    """
    net, prefix = model.trunk.net, "trunk.net."
    children = [(name, child) for name, child in net.named_children() if list(child.parameters()) or _pools(child)]
    stages = len(children)
    for n, (name, child) in enumerate(children):
        if name in CONTAINERS:
            inner = [(f"{name}.{key}", part) for key, part in child.named_children()]
            children, stages = inner + children[n + 1 :], len(inner)
            break
    last = max((n for n, (_, child) in enumerate(children[:stages]) if _has_matrix(child)), default=0)
    first = last
    if isinstance(children[last][1], nn.Conv2d):
        first = max((n + 1 for n, (_, child) in enumerate(children[:last]) if _pools(child)), default=last)
    stem = re.sub(r"(?<=\d)[a-z]$", "", children[first][0])
    first = min(n for n, (name, _) in enumerate(children) if n == first or (stem != name and name.startswith(stem)))
    trunk = [f"{prefix}{name}." for name, child in children[first:] if list(child.parameters())]
    # A class token's last block normalises patches and tokens by two copies of one layer: they stay one while frozen.
    fixed = "block.norm1." if isinstance(model.neck, ClassTokenNeck) else None
    return trunk + [
        f"neck.{name}" for name, _ in model.neck.named_parameters() if not (fixed and name.startswith(fixed))
    ]


def _pools(module: nn.Module) -> bool:
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))


def _has_matrix(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters())


def finetune(
    model: DualBranch, train: ImageSet, config: FinetuneConfig, val: ImageSet | None = None, state: Path | None = None,
    tick: Callable[[int, int], None] | None = None, stop: Callable[[], bool] | None = None, ranks: Ranks | None = None,
) -> Iterator[Epoch]:  # fmt: skip
    """Trains the softmax head and the trunk's last stage in place by cross-entropy; yields after every epoch.

    Every epoch sees a fresh crop of each image, mirrored or not. BatchNorm keeps its statistics; a branch trained
    before is dropped, for its features are gone; afterwards everything is frozen again, and the file carries the trunk.
    `tick` counts images x epochs; `state`, `ranks` and `stop` as in `training.fit`.
    Raises DataError when no image can be read, ValueError when the loss is no longer a number, CheckpointError when the
    state is another run's.
    """
    run = _Run(model, train, config, tick or (lambda done, total: None), stop or (lambda: False), ranks or Ranks())
    try:
        made_of = run.begin()
        history = resume(state, run.parameters, run.optimizer, made_of)
        agreed(run.parameters.values(), run.ranks, len(history))
        yield from history
        start, before = time.monotonic(), history[-1].seconds if history else 0.0
        for epoch in range(len(history), config.epochs):
            mean, accuracy = run.epoch(epoch)
            if run.stopped:
                return
            check_finite(mean, epoch, config)
            measured = (None, ()) if val is None else scores(run.answers(val), len(val.classes), "softmax", run.ranks)
            seconds = before + time.monotonic() - start
            history.append(Epoch(epoch + 1, config.epochs, mean, accuracy, seconds, *measured))
            if state and run.ranks.rank == 0:
                keep(state, run.parameters, run.optimizer, made_of, history)
            yield history[-1]
    finally:
        model.requires_grad_(False)
        model.softmax.eval()


class _Run:
    """A model under training."""

    def __init__(
        self, model: DualBranch, train: ImageSet, config: FinetuneConfig, tick: Callable[[int, int], None],
        stop: Callable[[], bool], ranks: Ranks,
    ) -> None:  # fmt: skip
        self.model, self.train, self.config, self.tick, self.stop, self.ranks = model, train, config, tick, stop, ranks
        self.stopped, self.dtype = False, fast_precision(model.device)
        chosen = ("softmax.", *last_stage(model))
        self.parameters = {name: p for name, p in model.named_parameters() if name.startswith(chosen)}
        groups = [
            {"params": [p for p in self.parameters.values() if p.ndim > 1]},
            {"params": [p for p in self.parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = sgd(groups, config)

    def begin(self) -> dict[str, Any]:
        """Thaws what is to be trained; returns what a state must have been made of."""
        model = self.model
        model.sigmoid = None
        origin = {part: where for part, where in model.spec.origin.items() if part not in ("trunk", "softmax")}
        model.spec = dataclasses.replace(model.spec, origin=origin)
        for p in self.parameters.values():
            p.requires_grad_(True)
        tensors = model.state_dict()
        frozen = {k: v for k, v in tensors.items() if k not in self.parameters and not k.endswith(COUNTERS)}
        made = {"config": asdict(self.config), "frozen": checkpoints.tensor_hash(frozen), "finetune": model.spec.trunk}
        return made | {"images": self.train.fingerprint()}

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits [B,C] of uint8 pixels; only the trunk runs in less than float32."""
        x = self.model.normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            F, tokens = self.model.trunk(x)
        return self.model.softmax(self.model.neck(F.float(), None if tokens is None else tokens.float()))

    def epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the images: mean loss, accuracy in percent."""
        rng = np.random.default_rng([self.config.seed, epoch])
        order = rng.permutation(len(self.train))
        spans = [order[span] for span in batches(len(order), self.config.batch)]
        own = [span[self.ranks.rank :: self.ranks.world] for span in spans]
        sums, done, total = torch.zeros(3, dtype=torch.float64), epoch * len(order), self.config.epochs * len(order)
        device = self.model.device
        self.model.softmax.train()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**31)) + self.ranks.rank)
            for step, (pixels, bad) in enumerate(decoded(self.train, own, self.model.spec.preprocessing.size)):
                set_lr(self.optimizer, self.config, (epoch + step / len(spans)) / self.config.epochs)
                sums += self.step(pixels, own[step], bad, epoch, len(spans[step]))
                done += len(spans[step])
                if self.stopped:
                    break
                self.tick(done, total)
        self.model.softmax.eval()
        self.ranks.all_reduce_([sums])
        if not sums[2] and not self.stopped:
            raise DataError(f"None of the {len(order)} images could be read.")
        return (sums[0] / sums[2]).item(), 100 * (sums[1] / sums[2]).item()

    def step(self, pixels: Tensor, index: np.ndarray, bad: dict[int, str], epoch: int, size: int) -> Tensor:
        """One step on this rank's part of a batch of `size`; sums of losses and hits, and the number of images."""
        rows = [n for n, place in enumerate(index.tolist()) if place not in bad]
        self.optimizer.zero_grad()
        sums = torch.zeros(3, dtype=torch.float64)
        if rows:
            labels = torch.tensor([self.train.labels[place] for place in index[rows]], device=self.model.device)
            logits = self.logits(view_of(pixels[rows], FIRST_CROP + epoch, index[rows], self.config.seed))
            loss = nnf.cross_entropy(logits, labels, reduction="sum")
            (loss / size).backward()
            sums = torch.tensor([loss.item(), int((logits.argmax(1) == labels).sum()), len(rows)], dtype=torch.float64)
        self.stopped = gathered(self.parameters.values(), self.ranks, self.stop)
        self.optimizer.step()
        return sums

    @torch.no_grad()
    def answers(self, images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and labels of the readable images, a batch at a time; of several ranks each answers for its part."""
        places = np.arange(len(images))[self.ranks.rank :: self.ranks.world]
        spans = [places[span] for span in batches(len(places), self.config.batch)]
        for index, (pixels, bad) in zip(spans, decoded(images, spans, self.model.spec.preprocessing.size)):
            rows = [n for n, place in enumerate(index.tolist()) if place not in bad]
            if rows:
                yield self.logits(pixels[rows]), torch.tensor([images.labels[place] for place in index[rows]])
