"""Linear heads trained to their optimum: both losses are convex in a linear head, so L-BFGS finds what SGD approaches.

Objective, over n images in V cached views each: 1/(nV) sum loss(W h + b, y) + penalty/2 ||theta - theta_0||^2, where
theta_0 is 0, or the start for heads that are pulled back to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .fitting import LOSSES, measure
from .loop import Epoch
from .vectors import Vectors

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)  # tried from strong to weak, each from the last
HELD_OUT = 0.2  # of each class's images, to choose the penalty by
MEMORY = 1 << 30  # bytes of vectors, at most
WORK = 4e9  # vectors x features x classes, at most: beyond it one evaluation takes seconds
STEPS, ITERATIONS = 40, 10  # steps of so many iterations at most
TOLERANCE = 1e-6  # of the gradient's norm, per square root of the number of parameters

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Optimum:
    """Where the solver stands: data loss, objective, norm of the objective's gradient, iterations so far."""

    loss: float
    objective: float
    gradient: float
    iterations: int
    converged: bool


def solvable(head: nn.Module, vectors: Vectors) -> bool:
    """Whether a head is one linear layer whose training set fits in memory."""
    if not isinstance(head, nn.Linear):
        return False
    rows = len(vectors.good) * vectors.views
    return rows * vectors.width * 4 <= MEMORY and rows * vectors.width * head.out_features <= WORK


def stacked(vectors: Vectors, places: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """All views of some images one below the other, with their labels: float32 [V*n,N_pen], int64 [V*n] on a device."""
    h = torch.cat([vectors.take(places, view).to(device) for view in range(vectors.views)])
    return h, vectors.labels[places].to(device).repeat(vectors.views)


def minimise(
    parameters: Sequence[Tensor], logits: Callable[[], Tensor], labels: Tensor, loss: Loss, penalty: float,
    pulled: Sequence[Tensor] | None = None,
) -> Iterator[Optimum]:  # fmt: skip
    """Moves `parameters` in place to the minimum of loss(logits(), labels) + penalty/2 ||theta - pulled||^2.

    Yields after every ITERATIONS iterations of L-BFGS with a strong Wolfe line search, the last time when the gradient
    vanishes or nothing improves. `pulled`: what the penalty measures from; 0 without it.
    Raises ValueError when the loss is no longer a number.
    """
    origin = [torch.zeros_like(p) for p in parameters] if pulled is None else [p.detach().clone() for p in pulled]
    for p in parameters:
        p.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=ITERATIONS, history_size=20, tolerance_grad=0, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    found = {"loss": float("nan"), "objective": float("nan")}

    def closure() -> Tensor:
        optimizer.zero_grad()
        data = loss(logits(), labels)
        objective = data + penalty / 2 * sum(((p - o).square().sum() for p, o in zip(parameters, origin)), start=0.0)
        objective.backward()
        found["loss"], found["objective"] = float(data.detach()), float(objective.detach())
        return objective

    small = TOLERANCE * sum(p.numel() for p in parameters) ** 0.5
    before = float("inf")
    for step in range(STEPS):
        optimizer.step(closure)
        closure()
        gradient = float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm())
        if not np.isfinite(found["objective"]):
            raise ValueError("The loss is no longer a number: the features of this data set are too large.")
        stuck = step > 0 and before - found["objective"] <= 1e-7 * abs(before)
        converged = gradient <= small or stuck
        yield Optimum(found["loss"], found["objective"], gradient, (step + 1) * ITERATIONS, converged)
        if converged:
            break
        before = found["objective"]
    for p in parameters:
        p.grad = None


def held_out(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Places to learn from and places to choose by: HELD_OUT of each class's images, none of a class of one."""
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for k in labels.unique().tolist():
        places = (labels == k).nonzero().squeeze(1).numpy()
        count = min(max(round(HELD_OUT * len(places)), 1), len(places) - 1)
        chosen += rng.permutation(places)[:count].tolist()
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[chosen] = True
    return (~mask).nonzero().squeeze(1), mask.nonzero().squeeze(1)


def choose_penalty(head: nn.Linear, vectors: Vectors, loss: Loss, seed: int) -> float:
    """The penalty of PENALTIES whose head has the least loss on images held out of the training images.

    From strong to weak, each fit beginning where the last ended; two that are worse in a row end the search.
    """
    learn, judge = held_out(vectors.labels[vectors.good], seed)
    if not len(judge):
        return PENALTIES[len(PENALTIES) // 2]
    device = head.weight.device
    h, labels = stacked(vectors, vectors.good[learn], device)
    unseen, truth = vectors.take(vectors.good[judge]).to(device), vectors.labels[vectors.good[judge]].to(device)
    W, b = torch.zeros_like(head.weight), torch.zeros_like(head.bias)
    losses: list[float] = []
    for penalty in PENALTIES:
        for _ in minimise([W, b], lambda: h @ W.T + b, labels, loss, penalty):
            pass
        with torch.no_grad():
            losses.append(float(loss(unseen @ W.T + b, truth)))
        if len(losses) > 2 and min(losses[-2:]) > min(losses):
            break
    return PENALTIES[int(np.argmin(losses))]


class Optimiser:
    """The training of one linear head to its optimum: the penalty first, then all images; afterwards what was found."""

    def __init__(self, head: nn.Linear, train: Vectors, loss: str, val: Vectors | None, seed: int) -> None:
        self.head, self.train, self.loss, self.val, self.seed = head, train, loss, val, seed
        self.penalty = 0.0
        self.optimum: Optimum | None = None

    def __call__(self, stop: Callable[[], bool]) -> Iterator[Epoch]:
        """Trains the head in place; yields after every few iterations, with the head in eval mode."""
        start, head = time.monotonic(), self.head.eval()
        function = LOSSES[self.loss]
        self.penalty = choose_penalty(head, self.train, function, self.seed)
        h, labels = stacked(self.train, self.train.good, head.weight.device)
        W, b = torch.zeros_like(head.weight), torch.zeros_like(head.bias)
        for n, found in enumerate(minimise([W, b], lambda: h @ W.T + b, labels, function, self.penalty)):
            self.optimum = found
            with torch.no_grad():
                head.weight.copy_(W)
                head.bias.copy_(b)
                accuracy = 100 * float((head(h).argmax(1) == labels).float().mean())
            measured = (None, ()) if self.val is None else measure(head, self.val, self.loss)
            last = found.converged or n + 1 == STEPS
            total = n + 1 if last else STEPS
            yield Epoch(n + 1, total, found.loss, accuracy, time.monotonic() - start, *measured)
            if stop():
                return

    def describe(self) -> dict[str, float | str | None]:
        """What the card says of it."""
        found = self.optimum
        gradient, objective = (None, None) if found is None else (found.gradient, found.objective)
        return {
            "solver": "L-BFGS to the optimum", "penalty": self.penalty, "gradient": gradient, "objective": objective,
        }  # fmt: skip
