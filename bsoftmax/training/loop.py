"""Common to all training on features: configuration, epochs, the learning rate, and states from which a run resumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models import checkpoints

INITS = ("fresh", "clone", "gauge")
DECAYS = ("cosine", "step")
SOLVERS = ("sgd", "lbfgs", "auto")
MOST_LR = 1e30  # of a rate or a decay: its product with a weight must fit in single precision


@dataclass(frozen=True)
class BranchConfig:
    """Configuration of a head's training on `views` cached views an image.

    `solver`: "sgd" with Nesterov momentum, as the paper does; "lbfgs", a linear head at its optimum, with a penalty
    chosen on a part of the training images, so that epochs, rates and weight_decay say nothing; "auto": the optimum
    where the head is linear and its set fits in memory, else SGD. `init`: "fresh" numbers, a "clone" of the softmax
    head (both without effect on an optimum), or "gauge": the branch is made as `bsoftmax calibrate` does.
    `decay` of the learning rate: "cosine", or "step", a tenth of it in the last third of all steps.
    """

    views: int = 2
    epochs: int = 30
    batch: int = 256
    lr: float = 0.5
    momentum: float = 0.9
    weight_decay: float = 5e-4
    init: str = "fresh"
    seed: int = 0
    decay: str = "cosine"
    solver: str = "sgd"

    def __post_init__(self) -> None:
        """Raises ValueError for a configuration that cannot train."""
        for name in ("views", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, most in (("lr", MOST_LR), ("weight_decay", MOST_LR), ("seed", 2**63 - 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} must be a number of at least 0 and at most {most:g}, got {getattr(self, name)}."
                )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}.")
        if self.init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, got {self.init!r}.")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}.")
        if self.decay not in DECAYS:
            raise ValueError(f"decay must be one of {', '.join(DECAYS)}, got {self.decay!r}.")


@dataclass(frozen=True)
class ProbeConfig(BranchConfig):
    """Configuration of a linear probe: the softmax head of new classes on the frozen trunk.

    Its learning rate and batch are smaller than the branch's, for sets of few images: a large rate costs accuracy, and
    fifty images should be more than one step an epoch.
    """

    batch: int = 64
    lr: float = 0.1


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: mean loss, training and validation accuracy in percent, seconds so far.

    `recalled`: percent of each class's validation images that are recalled (branch: s_y > 0.5; softmax: the largest
    logit); None for a class without any.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds: float
    val_accuracy: float | None = None
    recalled: tuple[float | None, ...] = ()


def sgd(groups: Sequence[dict[str, Any]], config: BranchConfig) -> torch.optim.SGD:
    """SGD with the configuration's learning rate, Nesterov momentum and weight decay."""
    return torch.optim.SGD(
        groups, config.lr, config.momentum, nesterov=config.momentum > 0, weight_decay=config.weight_decay
    )


def set_lr(optimizer: torch.optim.Optimizer, config: BranchConfig, t: float) -> None:
    """lr (1 + cos(pi t))/2 at the share t of all steps, or, with the decay "step", lr and lr/10 from t = 2/3 on."""
    factor = 0.5 * (1 + math.cos(math.pi * t)) if config.decay == "cosine" else 1.0 if t < 2 / 3 else 0.1
    for group in optimizer.param_groups:
        group["lr"] = config.lr * factor


def check_finite(loss: float, epoch: int, config: BranchConfig) -> None:
    """Raises ValueError when a loss is no longer a number."""
    if not math.isfinite(loss):
        raise ValueError(
            f"The loss left all bounds in epoch {epoch + 1}: train with a learning rate below {config.lr}."
        )


def save_state(
    path: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, identity: Mapping[str, Any],
    history: Sequence[Epoch],
) -> None:  # fmt: skip
    """Writes what a run needs to resume after this epoch. Raises OSError when the folder cannot be written."""
    tensors = {f"head.{name}": p for name, p in parameters.items()}
    for name, p in parameters.items():
        buffer = optimizer.state[p].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{name}"] = buffer
    checkpoints.write(path, tensors, {**identity, "epochs": [asdict(epoch) for epoch in history]})


@torch.no_grad()
def load_state(
    path: Path | None, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, identity: Mapping[str, Any]
) -> list[Epoch]:
    """Loads parameters and momenta from a state; returns its epochs, none where there is no state yet.

    `identity`: the metadata that the state must have. Raises CheckpointError when it is damaged or another run's.
    """
    if path is None or not path.exists():
        return []
    tensors, meta = checkpoints.read(path)
    fits = all(f"head.{k}" in tensors and tensors[f"head.{k}"].shape == p.shape for k, p in parameters.items())
    if not fits or any(meta.get(key) != value for key, value in identity.items()):
        raise checkpoints.CheckpointError(f"{str(path)!r} belongs to another run: move it away to start anew.")
    for name, p in parameters.items():
        p.copy_(tensors[f"head.{name}"])
        if f"momentum.{name}" in tensors:
            optimizer.state[p]["momentum_buffer"] = tensors[f"momentum.{name}"].to(p.device)
    return [Epoch(**{**one, "recalled": tuple(one["recalled"])}) for one in meta["epochs"]]
