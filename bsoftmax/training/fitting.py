"""Training a head on cached vectors: the softmax head by cross-entropy, the sigmoid branch by Eq. 12."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..data.loader import batches
from ..models import checkpoints
from ..models.losses import balanced_bce
from ..utils.distributed import Ranks
from .loop import BranchConfig, Epoch, ProbeConfig, check_finite, keep, resume, set_lr, sgd
from .vectors import Vectors

__all__ = ["LOSSES", "BranchConfig", "Epoch", "ProbeConfig", "balanced_bce", "fit", "measure", "top1"]
STATE_SECONDS = 2.0  # states are written at most this often, and after the last epoch
EVALUATED = 1024  # images whose vectors are in memory at once when a head is measured
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"softmax": nnf.cross_entropy, "sigmoid": balanced_bce}


def fit(
    head: nn.Module, train: Vectors, config: BranchConfig, loss: str = "sigmoid", val: Vectors | None = None,
    state: Path | None = None, ranks: Ranks | None = None, stop: Callable[[], bool] | None = None,
) -> Iterator[Epoch]:  # fmt: skip
    """Trains a head in place on cached vectors; yields after every epoch, with the head in eval mode.

    Every epoch sees each readable image once, in one of its V views, both drawn by (seed, epoch). Stop iterating, or
    let `stop()` (asked between batches) say so, to stop: what was learnt stays in `head`. `state`: a file from which a
    run that was killed goes on to the same end, after yielding the epochs it had finished. Of several `ranks` each
    takes its part of every batch; the sum is what one process computes.
    Raises ValueError when the loss is no longer a number, CheckpointError when the state is another run's.
    """
    run = _Run(head, train, config, loss, ranks or Ranks(), stop or (lambda: False))
    made_of = {"config": asdict(config), "loss": loss, "vectors": train.key}
    made_of["labels"] = checkpoints.tensor_hash({"labels": train.labels})
    history = resume(state, run.parameters, run.optimizer, made_of)
    agreed(run.parameters.values(), run.ranks, len(history))
    head.eval()
    yield from history
    start = written = time.monotonic()
    before = history[-1].seconds if history else 0.0
    for epoch in range(len(history), config.epochs):
        mean, accuracy = run.epoch(epoch)
        head.eval()
        if run.stopped:
            return
        check_finite(mean, epoch, config)
        measured = (None, ()) if val is None else measure(head, val, loss, run.ranks)
        seconds = before + time.monotonic() - start
        history.append(Epoch(epoch + 1, config.epochs, mean, accuracy, seconds, *measured))
        due = time.monotonic() - written > STATE_SECONDS or epoch + 1 == config.epochs
        if state and due and run.ranks.rank == 0:
            keep(state, run.parameters, run.optimizer, made_of, history)
            written = time.monotonic()
        yield history[-1]


class _Run:
    """A head under training."""

    def __init__(
        self, head: nn.Module, train: Vectors, config: BranchConfig, loss: str, ranks: Ranks, stop: Callable[[], bool]
    ) -> None:
        self.head, self.train, self.config, self.ranks, self.stop = head, train, config, ranks, stop
        self.loss, self.stopped = LOSSES[loss], False
        self.parameters = {name: p for name, p in head.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("Nothing in this head is to be trained: let its parameters require gradients.")
        self.optimizer = sgd([{"params": list(self.parameters.values())}], config)
        self.device = next(iter(self.parameters.values())).device

    def epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the images: mean loss, accuracy in percent."""
        rng = np.random.default_rng([self.config.seed, epoch])
        order = self.train.good[torch.from_numpy(rng.permutation(len(self.train.good)))]
        view = torch.from_numpy(rng.integers(self.train.views, size=len(order)))
        sums = torch.zeros(2, dtype=torch.float64)
        self.head.train()
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked):  # dropout draws by (seed, epoch) too
            torch.manual_seed(int(rng.integers(2**31)) + self.ranks.rank)
            steps = math.ceil(len(order) / self.config.batch)
            for step, span in enumerate(batches(len(order), self.config.batch)):
                set_lr(self.optimizer, self.config, (epoch * steps + step) / (self.config.epochs * steps))
                sums += self.step(order[span], view[span])
                if self.stopped:
                    break
        self.ranks.all_reduce_([sums])
        return sums[0].item() / len(order), 100 * sums[1].item() / len(order)

    def step(self, index: Tensor, view: Tensor) -> Tensor:
        """One step on a batch, of which this rank takes its part; returns the sums of its losses and hits."""
        own = slice(self.ranks.rank, None, self.ranks.world)
        labels = self.train.labels[index[own]].to(self.device)
        self.optimizer.zero_grad()
        sums = torch.zeros(2, dtype=torch.float64)
        if len(labels):
            logits = self.head(self.train.take(index[own], view[own]).to(self.device))
            loss = self.loss(logits, labels) * (len(labels) / len(index))
            loss.backward()
            sums = torch.stack([loss.detach().double() * len(index), (logits.argmax(1) == labels).sum()]).cpu()
        self.stopped = gathered(self.parameters.values(), self.ranks, self.stop)
        self.optimizer.step()
        return sums


def agreed(parameters: Collection[nn.Parameter], ranks: Ranks, done: int) -> None:
    """All ranks begin with rank 0's numbers. Raises ValueError when they do not begin after the same epoch."""
    count = torch.tensor([float(done)])
    ranks.all_reduce_([count])
    if count.item() != done * ranks.world:
        raise ValueError("The processes begin at different epochs: put the state where all of them see it.")
    ranks.broadcast_(list(parameters))


def gathered(parameters: Collection[nn.Parameter], ranks: Ranks, stop: Callable[[], bool]) -> bool:
    """Sums the gradients over the ranks; whether any rank was asked to stop, so that all do so at the same step."""
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    halt = torch.tensor([float(stop())])
    ranks.all_reduce_([*(p.grad for p in parameters), halt])
    return bool(halt)


def scores(
    answers: Iterable[tuple[Tensor, Tensor]], classes: int, loss: str, ranks: Ranks
) -> tuple[float, tuple[float | None, ...]]:
    """Of (logits [B,C], labels [B]): accuracy in percent, and percent found per class, as `Epoch.recalled` says."""
    counts = torch.zeros(3, classes, dtype=torch.float64)  # images, right answers, found
    for logits, labels in answers:
        logits, labels = logits.cpu(), labels.cpu()
        right = logits.argmax(1) == labels
        found = right if loss == "softmax" else logits.gather(1, labels[:, None]).squeeze(1) > 0
        counts.index_add_(1, labels, torch.stack([torch.ones_like(right), right, found]).double())
    ranks.all_reduce_([counts])
    images, right, found = counts
    recalled = tuple(100 * f / n if n else None for f, n in zip(found.tolist(), images.tolist()))
    return 100 * (right.sum() / images.sum()).item(), recalled


@torch.no_grad()
def measure(
    head: nn.Module, vectors: Vectors, loss: str = "softmax", ranks: Ranks | None = None
) -> tuple[float, tuple[float | None, ...]]:
    """Accuracy in percent over the readable images as they are, and percent found per class (`Epoch.recalled`)."""
    ranks, device = ranks or Ranks(), next(head.parameters(), torch.empty(0)).device
    classes = head(vectors.take(vectors.good[:1]).to(device)).shape[1]
    mine = vectors.good[ranks.rank :: ranks.world]
    spans = (mine[span] for span in batches(len(mine), EVALUATED))
    answers = ((head(vectors.take(index).to(device)), vectors.labels[index]) for index in spans)
    return scores(answers, classes, loss, ranks)


def top1(classifier: nn.Module, vectors: Vectors) -> float:
    """Share of readable images, in percent, whose largest logit is their class."""
    return measure(classifier, vectors)[0]
