"""Fine-tuning in stage 1: the softmax head and the trunk's last stage are trained, the rest is frozen."""

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
from ..models.checkpoints import COUNTERS
from ..models.dual_branch import DualBranch
from ..models.surgery import ClassTokenNeck
from ..utils.distributed import Ranks
from .feature_cache import fast_precision
from .fitting import check_same_epoch, reduce_gradients, scores
from .loop import BranchConfig, Epoch, check_finite, load_state, save_state, set_lr, sgd

CONTAINERS = ("stages", "blocks", "layers", "features")  # what timm calls the list of a network's stages
FIRST_CROP = 2  # views 0 and 1 are the image and its mirror; later ones are crops


@dataclass(frozen=True)
class FinetuneConfig(BranchConfig):
    """Configuration of fine-tuning; `views` has no effect, since every epoch sees new crops."""

    views: int = 1
    epochs: int = 8
    batch: int = 32
    lr: float = 0.01
    weight_decay: float = 1e-4


def last_stage(model: DualBranch) -> list[str]:
    """Prefixes of the names of the parameters of the trunk's last stage, and of the neck behind it.

    The last of a network's stages and what follows it (ResNet's layer4, ConvNeXt's stages.3, Inception's Mixed_7); in a
    plain stack of layers (VGG), those behind the last pooling layer that is followed by others.
    """
    net, prefix = model.trunk.get_submodule("net"), "trunk.net."
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
    # A class token's last block has two copies of one LayerNorm, for patches and tokens: frozen, they stay equal.
    fixed = "block.norm1." if isinstance(model.neck, ClassTokenNeck) else None
    return trunk + [
        f"neck.{name}" for name, _ in model.neck.named_parameters() if not (fixed and name.startswith(fixed))
    ]


def _pools(module: nn.Module) -> bool:
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))


def _has_matrix(module: nn.Module) -> bool:
    return any(p.ndim > 1 for p in module.parameters())


def finetune(
    model: DualBranch, train: ImageSet, config: BranchConfig, val: ImageSet | None = None, state: Path | None = None,
    tick: Callable[[int, int], None] | None = None, stop: Callable[[], bool] | None = None, ranks: Ranks | None = None,
) -> Iterator[Epoch]:  # fmt: skip
    """Trains the softmax head and the trunk's last stage in place by cross-entropy; yields after every epoch.

    Every epoch sees a new crop of each image, mirrored or not. BatchNorm keeps its statistics. An existing branch is
    removed, for its features change; afterwards everything is frozen again, and the checkpoint includes the trunk.
    `tick(done, total)` counts images x epochs; `state`, `ranks` and `stop` as in `training.fit`.
    Raises DataError when no image can be read, ValueError when the loss is no longer finite, CheckpointError when the
    state is another run's.
    """
    run = _Run(model, train, config, tick or (lambda done, total: None), stop or (lambda: False), ranks or Ranks())
    try:
        identity = run.begin()
        history = load_state(state, run.parameters, run.optimizer, identity)
        check_same_epoch(run.parameters.values(), run.ranks, len(history))
        yield from history
        start, before = time.monotonic(), history[-1].seconds if history else 0.0
        for epoch in range(len(history), config.epochs):
            mean, accuracy = run.epoch(epoch)
            if run.stopped:
                return
            check_finite(mean, epoch, config)
            measured = (None, ()) if val is None else scores(run.outputs(val), len(val.classes), "softmax", run.ranks)
            seconds = before + time.monotonic() - start
            history.append(Epoch(epoch + 1, config.epochs, mean, accuracy, seconds, *measured))
            if state and run.ranks.rank == 0:
                save_state(state, run.parameters, run.optimizer, identity, history)
            yield history[-1]
    finally:
        model.requires_grad_(False)
        model.softmax.eval()


class _Run:
    """A model in training, its parameters and optimizer."""

    def __init__(
        self, model: DualBranch, train: ImageSet, config: BranchConfig, tick: Callable[[int, int], None],
        stop: Callable[[], bool], ranks: Ranks,
    ) -> None:  # fmt: skip
        self.model, self.train, self.config, self.tick, self.stop, self.ranks = model, train, config, tick, stop, ranks
        self.stopped, self.dtype = False, fast_precision(model.device)
        chosen = ("softmax.", *last_stage(model))
        self.parameters = {name: p for name, p in model.named_parameters() if name.startswith(chosen)}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters.values() if p.ndim > 1]},
            {"params": [p for p in self.parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = sgd(groups, config)

    def begin(self) -> dict[str, Any]:
        """Unfreezes what is trained; returns the metadata that a state must have."""
        model = self.model
        model.sigmoid = None
        origin = {part: source for part, source in model.spec.origin.items() if part not in ("trunk", "softmax")}
        model.spec = dataclasses.replace(model.spec, origin=origin)
        for p in self.parameters.values():
            p.requires_grad_(True)
        tensors = model.state_dict()
        frozen = {k: v for k, v in tensors.items() if k not in self.parameters and not k.endswith(COUNTERS)}
        identity = {"config": asdict(self.config), "frozen": checkpoints.tensor_hash(frozen)}
        return {**identity, "finetune": model.spec.trunk, "images": self.train.fingerprint()}

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits [B,C] of pixels uint8 [B,3,S,S]; only the trunk runs in `dtype`."""
        x = self.model.normalise(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype is not None):
            F, tokens = self.model.trunk(x)
        logits: Tensor = self.model.softmax(self.model.neck(F.float(), None if tokens is None else tokens.float()))
        return logits

    def epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the images: mean loss, accuracy in percent."""
        rng = np.random.default_rng([self.config.seed, epoch])
        order: list[int] = rng.permutation(len(self.train)).tolist()
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

    def step(self, pixels: Tensor, index: list[int], bad: dict[int, str], epoch: int, size: int) -> Tensor:
        """One step on this rank's part of a batch of `size`; sums of losses and hits, and the number of images."""
        rows = [b for b, n in enumerate(index) if n not in bad]
        readable = [index[b] for b in rows]
        self.optimizer.zero_grad()
        sums = torch.zeros(3, dtype=torch.float64)
        if rows:
            labels = torch.tensor([self.train.labels[n] for n in readable], device=self.model.device)
            logits = self.logits(view_of(pixels[rows], FIRST_CROP + epoch, readable, self.config.seed))
            loss = nnf.cross_entropy(logits, labels, reduction="sum")
            (loss / size).backward()
            sums = torch.tensor([loss.item(), int((logits.argmax(1) == labels).sum()), len(rows)], dtype=torch.float64)
        self.stopped = reduce_gradients(self.parameters.values(), self.ranks, self.stop)
        self.optimizer.step()
        return sums

    @torch.no_grad()
    def outputs(self, images: ImageSet) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and labels of this rank's part of the readable images, a batch at a time."""
        own = range(len(images))[self.ranks.rank :: self.ranks.world]
        spans = [own[span] for span in batches(len(own), self.config.batch)]
        for index, (pixels, bad) in zip(spans, decoded(images, spans, self.model.spec.preprocessing.size)):
            rows = [b for b, n in enumerate(index) if n not in bad]
            if rows:
                yield self.logits(pixels[rows]), torch.tensor([images.labels[index[b]] for b in rows])
