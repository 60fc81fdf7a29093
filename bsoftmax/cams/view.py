"""The features of a batch of images, from one pass of the trunk, and the scores and gradients that methods need."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..models.dual_branch import DualBranch
from ..models.heads import GlobalAveragePool, is_gap_linear, last_linear
from .sources import Source
from .sources import find as find_source

CHUNK = 32  # perturbed images or features in memory at once
LOGITS = 2**20  # of features without a channel, in memory at once
MOST_KEPT = 48  # results of methods that run the trunk for every class, source and head
Tick = Callable[[int, int], None]  # progress callback: done, total


class Masks(Protocol):
    """What images are multiplied by: `count` masks for each; `key` names the vectors that `View` keeps of them."""

    @property
    def key(self) -> str:
        """The name under which `View` keeps the vectors."""

    @property
    def count(self) -> int:
        """How many there are for each image."""

    def part(self, b: int, start: int, size: tuple[int, int]) -> Tensor:
        """At most CHUNK masks of image b from number `start` on, at `size` pixels, in [0, 1]: [n,1,H,W]."""

    def to(self, device: str) -> Masks:
        """The same on a device."""


@dataclass(frozen=True, eq=False)
class ChannelMasks:
    """Every image's own maps F [B,N,P,Q], upsampled bilinearly, each min-maxed; 0 where it is constant (Score-CAM)."""

    F: Tensor
    key: str = "channels"

    @property
    def count(self) -> int:
        """N."""
        return self.F.shape[1]

    def part(self, b: int, start: int, size: tuple[int, int]) -> Tensor:
        """The channels from `start` on: [n,1,H,W]."""
        masks = nnf.interpolate(self.F[b, start : start + CHUNK, None], size, mode="bilinear")
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        return torch.where(high > low, (masks - low) / (high - low).clamp(min=1e-12), 0.0)

    def to(self, device: str) -> ChannelMasks:
        """The same on a device."""
        return ChannelMasks(self.F.to(device))


@torch.no_grad()
def masked_vectors(model: DualBranch, x: Tensor, masks: Masks, done: int = 0) -> Generator[Tensor, None, None]:
    """Penultimate vectors [n,N_pen] of x [B,3,H,W] times masks, image by image, at most CHUNK at once.

    Begins after the first `done` of these chunks.
    """
    for b, start in [(b, start) for b in range(len(x)) for start in range(0, masks.count, CHUNK)][done:]:
        yield model.neck(*model.features(x[b, None] * masks.part(b, start, (x.shape[2], x.shape[3]))))


class View:
    """F [B,N,P,Q] of preprocessed images x [B,3,H,W], with cached results that all methods and heads share.

    `run_masked` replaces `masked_vectors`, to run the many passes of Score-CAM and RISE on another device. `features`:
    what `model.features(x)` returned, where the trunk has run before; else it runs now.
    """

    def __init__(
        self, model: DualBranch, x: Tensor, run_masked: Callable[..., Generator[Tensor, None, None]] = masked_vectors,
        features: tuple[Tensor, Tensor | None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.x, self.run_masked = model, x, run_masked
        self.F, self.tokens = model.features(x) if features is None else features
        self.weights: dict[str, Tensor] = {}  # of class-free methods: alpha, or the map
        self._kept: dict[str, Tensor] = {}  # by name, for all heads and classes: see `put`
        self._rows: dict[str, list[Tensor]] = {}  # of masks whose passes were interrupted and may go on later
        self._results: dict[tuple[object, ...], Tensor] = {}  # of methods that run the trunk for every class and source

    @cached_property
    def h(self) -> Tensor:
        """Penultimate vectors [B,N_pen]."""
        with torch.no_grad():
            h: Tensor = self.model.neck(self.F, self.tokens)
        return h

    def logits(self, branch: str) -> Tensor:
        """Logits [B,C] of one classifier, "softmax" or "sigmoid"."""
        with torch.no_grad():
            logits: Tensor = self.model.classifier(branch)(self.h)
        return logits

    def put(self, name: str, tensor: Tensor) -> None:
        """Keeps a tensor under a name: what takes passes of the trunk, and serves all heads and classes."""
        self._kept[name] = tensor

    def has(self, name: str) -> bool:
        """Whether a tensor of that name is kept."""
        return name in self._kept

    def kept(self, name: str) -> Tensor:
        """The tensor of that name. Raises KeyError where there is none."""
        return self._kept[name]

    def remember(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """The result kept under a key, made where it is not among the last MOST_KEPT."""
        if (result := self._results.get(key)) is None:
            self._results[key] = result = make()
            for old in list(self._results)[:-MOST_KEPT]:
                self._results.pop(old, None)
        return result

    def masked(self, masks: Masks, tick: Tick | None = None) -> Tensor:
        """Penultimate vectors [B,n,N_pen] of x times each of n masks, for all heads and classes; the result is kept.

        Runs the trunk n times for each image. When `tick` raises an exception, what was computed is kept and the next
        call goes on from there.
        """
        if not self.has(masks.key):
            self.put(masks.key, self._run_masked(masks, tick))
        return self.kept(masks.key)

    @property
    def nbytes(self) -> int:
        """Bytes of the images, their features and what is kept."""
        kept = [self.x, self.F, *self._kept.values(), *self._results.values()]
        return sum(t.nbytes for t in [*kept, *([] if self.tokens is None else [self.tokens])])

    def _run_masked(self, masks: Masks, tick: Tick | None) -> Tensor:
        rows, total = list(self._rows.get(masks.key, ())), len(self.x) * masks.count
        done = sum(map(len, rows))
        try:
            with closing(self.run_masked(self.model, self.x, masks, len(rows))) as chunks:
                for h in chunks:
                    rows.append(h)
                    done += len(h)
                    if tick:
                        tick(done, total)
        except BaseException:
            self._rows[masks.key] = rows
            raise
        self._rows.pop(masks.key, None)
        return torch.cat(rows).reshape(len(self.x), masks.count, -1)

    @torch.no_grad()
    def without_channel(self, b: int, channels: slice) -> Tensor:
        """Penultimate vectors [n,N_pen] of image b, each with one of the channels of F set to zero (Ablation-CAM)."""
        index = torch.arange(self.F.shape[1])[channels]
        rows = torch.arange(len(index))
        if isinstance(self.model.neck, GlobalAveragePool):
            h = self.h[b].repeat(len(index), 1)
            h[rows, index] = 0
            return h
        F = self.F[b].repeat(len(index), 1, 1, 1)
        F[rows, index] = 0
        tokens = None if self.tokens is None else self.tokens[b].expand(len(index), -1, -1)
        ablated: Tensor = self.model.neck(F, tokens)
        return ablated

    def evidence(self, source: str, k: Tensor | int, classifier: nn.Module | None = None) -> Evidence:
        """The inputs of a CAM method for class k ([B] or one number) and a source.

        `classifier` replaces that of the source, for example by a distorted one.
        """
        k = torch.as_tensor(k).expand(len(self.F)).to(self.F.device)
        return Evidence(self, find_source(source), k, classifier)


class Evidence:
    """The score of a source and class: its value, its gradient at F, and its values on perturbed images or features."""

    def __init__(self, view: View, source: Source, k: Tensor, classifier: nn.Module | None = None) -> None:
        self.view, self.source, self.k = view, source, k
        self.classifier = classifier or view.model.classifier(source.branch)
        self.own = self.classifier is getattr(view.model, source.branch)  # the source's own, not a distorted one
        self.weights: dict[str, Tensor] = {}  # unclamped alpha, or the map, by method

    @property
    def F(self) -> Tensor:
        """Feature maps [B,N,P,Q]."""
        return self.view.F

    def of_vectors(self, h: Tensor, k: Tensor) -> Tensor:
        """Scores [n] of classes k [n] for penultimate vectors h [n,N_pen]."""
        return self.source.score(self.classifier(h), k)

    def of_images(self, x: Tensor, k: Tensor) -> Tensor:
        """Scores [n] of classes k [n] for images x [n,3,H,W], through the trunk, with its gradient at x."""
        return self.of_vectors(self.view.model.neck(*self.view.model.trunk(x)), k)

    @cached_property
    def score(self) -> Tensor:
        """The score [B]."""
        with torch.no_grad():
            return self.of_vectors(self.view.h, self.k)

    @cached_property
    def G(self) -> Tensor:
        """Gradient of the score at F [B,N,P,Q] (the derivative in Eq. 5), through the head only.

        Behind average pooling dscore/dF_i^(p,q) = 1/(PQ) dscore/dh_i, the same at all positions.
        """
        start, logits = self._through_head
        with torch.enable_grad():
            (G,) = torch.autograd.grad(self.source.score(logits, self.k).sum(), start)
        if start.dim() == 4:
            return G
        positions = self.F.shape[2] * self.F.shape[3]
        return (G / positions)[:, :, None, None].expand(self.F.shape)

    @property
    def logits(self) -> Tensor:
        """Logits [B,C] of the classifier, from the forward pass that G differentiates."""
        return self._through_head[1].detach()

    @cached_property
    def _through_head(self) -> tuple[Tensor, Tensor]:
        """F, or h where it is the mean of F over positions, and the logits behind it, to be differentiated."""
        view = self.view
        pools = isinstance(view.model.neck, GlobalAveragePool)
        start = (view.h if pools else view.F).detach().requires_grad_()
        with torch.enable_grad():
            return start, self.classifier(start if pools else view.model.neck(start, view.tokens))

    @torch.no_grad()
    def masked_scores(self, tick: Tick | None = None) -> Tensor:
        """Scores [B,N] of the image masked by each of its feature maps."""
        h = self.view.masked(ChannelMasks(self.F), tick)
        return torch.stack([self.of_vectors(vectors, k.expand(len(vectors))) for vectors, k in zip(h, self.k)])

    @torch.no_grad()
    def masked_confidences(self, masks: Masks, tick: Tick | None = None) -> Tensor:
        """Confidences [B,n] of the image under each of n masks: softmax probabilities, or the branch's sigmoids.

        Those of log-odds and centred rows are the softmax probabilities, which they share.
        """
        logits = self.classifier(self.view.masked(masks, tick))
        p = logits.softmax(2) if self.source.branch == "softmax" else logits.sigmoid()
        return torch.stack([rows[:, k] for rows, k in zip(p, self.k)])

    @torch.no_grad()
    def ablated_scores(self, tick: Tick | None = None) -> Tensor:
        """Scores [B,N] with each channel of F set to zero in turn: y - w_i h_i where they are linear in h."""
        if is_gap_linear(self.view.model.neck, self.classifier) and self.source.linear:
            return self.score[:, None] - self.G.sum((2, 3)) * self.view.h
        B, N = self.F.shape[:2]
        rows, chunk = [], CHUNK
        if is_gap_linear(self.view.model.neck, self.classifier):  # no layer runs again
            chunk = max(CHUNK, LOGITS // self.logits.shape[1])
        for b in range(B):
            for start in range(0, N, chunk):
                logits = self._logits_without(b, slice(start, start + chunk))
                rows.append(self.source.score(logits, self.k[b].expand(len(logits))))
                if tick:
                    tick(b * N + start + len(logits), B * N)
        return torch.cat(rows).reshape(B, N)

    def _logits_without(self, b: int, channels: slice) -> Tensor:
        """Logits [n,C] of image b, each with one of the channels of F set to zero; y - w_i h_i for a linear head."""
        if is_gap_linear(self.view.model.neck, self.classifier):
            h, weight = self.view.h[b], last_linear(self.classifier).weight
            logits: Tensor = self.classifier(h) - (weight[:, channels] * h[channels]).T
        else:
            logits = self.classifier(self.view.without_channel(b, channels))
        return logits
