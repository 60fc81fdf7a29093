"""The trunks as the page runs them: folded, and photographs that wait for the same trunk share a pass."""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bsoftmax import DualBranch

from .lanes import StoppedError

LOG = logging.getLogger("bsoftmax")
BATCH = 4  # photographs in one pass; eight of the bundled model's take longer, each, than one alone
MOST_PARAMETERS = 50e6  # of a trunk that is copied to be folded
CLOSE = 1e-4  # of the largest feature, by which a folded trunk may differ
Features = tuple[Tensor, Tensor | None]


@dataclass(eq=False)
class _Waiting:
    """A photograph before its pass."""

    owner: str | None
    model: DualBranch
    x: Tensor
    features: Future[Features] = field(default_factory=Future)


class TrunkLane:
    """Passes of all trunks, one after another on one thread, so that passes never compete for the cores."""

    def __init__(self, most: int = BATCH) -> None:
        self._most, self._lock = most, threading.Lock()
        self._waiting: list[_Waiting] = []
        self._pool = ThreadPoolExecutor(1, "trunk")
        self._faster: WeakKeyDictionary[DualBranch, Callable[[Tensor], Features] | None] = WeakKeyDictionary()

    def features(self, model: DualBranch, x: Tensor, owner: str | None = None) -> Features:
        """F [1,N,P,Q] and tokens of one photograph x [1,3,S,S], those of `model.features(x)` but for rounding.

        Raises StoppedError when the session `owner` leaves before its pass.
        """
        mine = _Waiting(owner, model, x)
        with self._lock:
            self._waiting.append(mine)
        self._pool.submit(self.run_next)  # one for each photograph; those that find nothing left do nothing
        try:
            return mine.features.result()
        except CancelledError:
            raise StoppedError("Stopped: the page was closed.") from None

    def leave(self, owner: str) -> None:
        """Takes out what a session waits for; a pass that has begun goes on."""
        with self._lock:
            gone = [one for one in self._waiting if one.owner == owner]
            self._waiting = [one for one in self._waiting if one.owner != owner]
        for one in gone:
            one.features.cancel()

    def run_next(self) -> None:
        """Runs the pass whose photographs have waited longest, if any wait."""
        batch = self._take()
        if not batch:
            return
        try:
            F, tokens = self._runner(batch[0].model)(torch.cat([one.x for one in batch]))
        except BaseException as error:
            for one in batch:
                one.features.set_exception(error)
            return
        for b, one in enumerate(batch):  # copies: a part would keep the whole batch
            own = slice(b, b + 1)
            F_own = F[own].clone(memory_format=torch.contiguous_format)
            one.features.set_result((F_own, None if tokens is None else tokens[own].clone()))

    def _runner(self, model: DualBranch) -> Callable[[Tensor], Features]:
        if model not in self._faster:
            self._faster[model] = faster(model)
        return self._faster[model] or model.features

    def _take(self) -> list[_Waiting]:
        """The photograph that has waited longest, and the next of the same model."""
        with self._lock:
            alike = [one for one in self._waiting if one.model is self._waiting[0].model]
            batch = alike[: self._most]
            self._waiting = [one for one in self._waiting if one not in batch]
        return batch


def faster(model: DualBranch) -> Callable[[Tensor], Features] | None:
    """What computes `model.features` within rounding in less time, from a folded copy of the trunk; None: nothing does.

    In eval mode w * x + b followed by (y - mean) / sqrt(var + eps) * gamma + beta is one convolution. The order of a
    network's layers is guessed from the order of its parts, so the copy must give the same features of random images;
    where it does not, or nothing can be folded, the trunk is used as it is.
    """
    if sum(p.numel() for p in model.trunk.parameters()) > MOST_PARAMETERS:
        return None
    try:
        trunk = copy.deepcopy(model.trunk)
        if not sum(map(_fold, list(trunk.modules()))):
            return None
        trunk = trunk.to(memory_format=torch.channels_last)
        run = torch.no_grad()(lambda x: trunk(x.contiguous(memory_format=torch.channels_last)))
        if not _same(run, model):
            return None
    except Exception:  # networks of others: a faster copy is never worth a photograph
        LOG.exception("a trunk could not be folded")
        return None
    return _recorded(trunk, model) or run


class _Features(nn.Module):
    """A trunk's F without the tokens."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        return cast(Features, self.trunk(x))[0]


def _recorded(trunk: nn.Module, model: DualBranch) -> Callable[[Tensor], Features] | None:
    """The trunk as one call that leaves Python to other threads; None where what it does depends on the images."""
    side = model.spec.preprocessing.size
    example = torch.zeros(1, 3, side, side, device=model.device).contiguous(memory_format=torch.channels_last)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of sizes that become constants: `_same` notices where that matters
            recorded = torch.jit.freeze(torch.jit.trace(_Features(trunk).eval(), example, check_trace=False))
            run = torch.no_grad()(lambda x: (recorded(x.contiguous(memory_format=torch.channels_last)), None))
            return run if _same(run, model, (1, BATCH)) else None
    except Exception:
        LOG.debug("a trunk could not be recorded", exc_info=True)
        return None


def _fold(parent: nn.Module) -> int:
    """Folds the BatchNorms among a module's children; returns how many."""
    children, count = list(parent.named_children()), 0
    for (name, layer), (after, norm) in pairwise(children):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            setattr(parent, name, fuse_conv_bn_eval(layer, norm))
            rest = [part for part in norm.children() if not isinstance(part, nn.Identity)]  # timm's has its activation
            setattr(parent, after, nn.Sequential(*rest))
            count += 1
    return count


def _same(run: Callable[[Tensor], Features], model: DualBranch, sizes: tuple[int, ...] = (1,)) -> bool:
    """Whether the features of random images, in batches of these sizes, are those of the model."""
    side, generator = model.spec.preprocessing.size, torch.Generator().manual_seed(0)
    return all(_near(run, model, torch.randn(n, 3, side, side, generator=generator)) for n in sizes)


def _near(run: Callable[[Tensor], Features], model: DualBranch, x: Tensor) -> bool:
    x = x.to(model.device)
    (F, tokens), (expected, others) = run(x), model.features(x)
    near = F.shape == expected.shape and (F - expected).abs().max() <= CLOSE * expected.abs().max()
    return bool(near) and tokens is others is None
