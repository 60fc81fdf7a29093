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
from .loop import BranchConfig, Epoch, check_finite, load_state, save_state, set_lr, sgd
from .vectors import Vectors

STATE_SECONDS = 2.0  # at least, between two states; the last epoch always writes one
EVALUATED = 1024  # images a batch when a head is measured
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"softmax": nnf.cross_entropy, "sigmoid": balanced_bce}


def fit(
    head: nn.Module, train: Vectors, config: BranchConfig, loss: str = "sigmoid", val: Vectors | None = None,
    state: Path | None = None, ranks: Ranks | None = None, stop: Callable[[], bool] | None = None,
) -> Iterator[Epoch]:  # fmt: skip
    """Trains a head in place on cached vectors; yields after every epoch, with the head in eval mode.

    Every epoch sees each readable image once, in one of its V views, both drawn by (seed, epoch). When the caller stops
    iterating, or `stop()`, called between batches, returns True, the head keeps what it has learned. `state`: a file
    from which a killed run resumes with the same result, after yielding the epochs it had finished. Several `ranks`
    share every batch and compute the gradient of one process.
    Raises ValueError when the loss is no longer finite, CheckpointError when the state is another run's.
    """
    run = _Run(head, train, config, loss, ranks or Ranks(), stop or (lambda: False))
    identity = {"config": asdict(config), "loss": loss, "vectors": train.key}
    identity["labels"] = checkpoints.tensor_hash({"labels": train.labels})
    history = load_state(state, run.parameters, run.optimizer, identity)
    check_same_epoch(run.parameters.values(), run.ranks, len(history))
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
            save_state(state, run.parameters, run.optimizer, identity, history)
            written = time.monotonic()
        yield history[-1]


class _Run:
    """A head in training, its parameters and optimizer."""

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
        with torch.random.fork_rng(forked):  # dropout too is drawn by (seed, epoch)
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
        """One step on this rank's part of a batch; returns the sums of its losses and hits."""
        own = slice(self.ranks.rank, None, self.ranks.world)
        labels = self.train.labels[index[own]].to(self.device)
        self.optimizer.zero_grad()
        sums = torch.zeros(2, dtype=torch.float64)
        if len(labels):
            logits = self.head(self.train.take(index[own], view[own]).to(self.device))
            loss = self.loss(logits, labels) * (len(labels) / len(index))
            loss.backward()
            sums = torch.stack([loss.detach().double() * len(index), (logits.argmax(1) == labels).sum()]).cpu()
        self.stopped = reduce_gradients(self.parameters.values(), self.ranks, self.stop)
        self.optimizer.step()
        return sums


def check_same_epoch(parameters: Collection[nn.Parameter], ranks: Ranks, done: int) -> None:
    """Copies rank 0's parameters to all ranks. Raises ValueError when they do not begin after the same epoch."""
    count = torch.tensor([float(done)])
    ranks.all_reduce_([count])
    if count.item() != done * ranks.world:
        raise ValueError("The processes begin at different epochs: put the state where all of them see it.")
    ranks.broadcast_(list(parameters))


def reduce_gradients(parameters: Collection[nn.Parameter], ranks: Ranks, stop: Callable[[], bool]) -> bool:
    """Sums the gradients over the ranks; whether any rank is to stop, so that all do so at the same step."""
    gradients = []
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        gradients.append(p.grad)
    stopped = torch.tensor([float(stop())])
    ranks.all_reduce_([*gradients, stopped])
    return bool(stopped)


def scores(
    outputs: Iterable[tuple[Tensor, Tensor]], classes: int, loss: str, ranks: Ranks
) -> tuple[float, tuple[float | None, ...]]:
    """Accuracy and recall by class (`Epoch.recalled`) in percent, of batches of logits [B,C] and labels [B]."""
    counts = torch.zeros(3, classes, dtype=torch.float64)  # images, correct, recalled
    for logits, labels in outputs:
        logits, labels = logits.cpu(), labels.cpu()
        correct = logits.argmax(1) == labels
        recalled = correct if loss == "softmax" else logits.gather(1, labels[:, None]).squeeze(1) > 0
        counts.index_add_(1, labels, torch.stack([torch.ones_like(correct), correct, recalled]).double())
    ranks.all_reduce_([counts])
    images, correct, recalled = counts
    by_class = tuple(100 * r / n if n else None for r, n in zip(recalled.tolist(), images.tolist()))
    return 100 * (correct.sum() / images.sum()).item(), by_class


@torch.no_grad()
def measure(
    head: nn.Module, vectors: Vectors, loss: str = "softmax", ranks: Ranks | None = None
) -> tuple[float, tuple[float | None, ...]]:
    """Accuracy and recall by class (`Epoch.recalled`) in percent, over view 0 of the readable images."""
    ranks, device = ranks or Ranks(), next(head.parameters(), torch.empty(0)).device
    classes = head(vectors.take(vectors.good[:1]).to(device)).shape[1]
    own = vectors.good[ranks.rank :: ranks.world]
    spans = (own[span] for span in batches(len(own), EVALUATED))
    outputs = ((head(vectors.take(index).to(device)), vectors.labels[index]) for index in spans)
    return scores(outputs, classes, loss, ranks)


def top1(classifier: nn.Module, vectors: Vectors) -> float:
    """Top-1 accuracy in percent over the readable images."""
    return measure(classifier, vectors)[0]
