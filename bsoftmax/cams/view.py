"""The features of a batch of images, from one pass of the trunk, and the scores and gradients that methods need."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import cached_property

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..models.dual_branch import DualBranch
from ..models.heads import GlobalAveragePool
from .sources import Source
from .sources import find as find_source

CHUNK = 32  # perturbed images or features in memory at once
Tick = Callable[[int, int], None]  # progress callback: done, total


@torch.no_grad()
def masked_vectors(model: DualBranch, x: Tensor, F: Tensor, done: int = 0) -> Generator[Tensor, None, None]:
    """Penultimate vectors [n,N_pen] of x [B,3,H,W] times maps of F [B,N,P,Q], upsampled and min-maxed.

    Image by image, at most CHUNK maps at once; begins after the first `done` of these chunks.
    """
    for b, start in [(b, start) for b in range(len(F)) for start in range(0, F.shape[1], CHUNK)][done:]:
        masks = nnf.interpolate(F[b, start : start + CHUNK, None], x.shape[2:], mode="bilinear")
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = torch.where(high > low, (masks - low) / (high - low).clamp(min=1e-12), 0.0)
        yield model.neck(*model.features(x[b, None] * masks))


class View:
    """F [B,N,P,Q] of preprocessed images x [B,3,H,W], with cached results that all methods and heads share.

    `run_masked` replaces `masked_vectors`, to run the many passes of Score-CAM on another device. `features`: what
    `model.features(x)` returned, where the trunk has run before; else it runs now.
    """

    def __init__(
        self, model: DualBranch, x: Tensor, run_masked: Callable[..., Generator[Tensor, None, None]] = masked_vectors,
        features: tuple[Tensor, Tensor | None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.x, self.run_masked = model, x, run_masked
        self.F, self.tokens = model.features(x) if features is None else features
        self.weights: dict[str, Tensor] = {}  # alpha of class-free methods
        self._masked: Tensor | None = None
        self._masked_rows: list[Tensor] = []  # of `_run_masked`, which may be interrupted and go on later

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

    def masked(self, tick: Tick | None = None) -> Tensor:
        """Penultimate vectors [B,N,N_pen] of x times each of its own maps, upsampled and min-maxed (Score-CAM, Eq. 7).

        Runs the trunk N times for each image; the result is cached, for all heads and classes. When `tick` raises an
        exception, what was computed is kept and the next call goes on from there.
        """
        if self._masked is None:
            self._masked = self._run_masked(tick)
        return self._masked

    @property
    def has_masked(self) -> bool:
        """Whether `masked` has been computed."""
        return self._masked is not None

    @property
    def nbytes(self) -> int:
        """Bytes of the images, their features and `masked`."""
        return sum(t.nbytes for t in (self.x, self.F, self.tokens, self._masked) if t is not None)

    def _run_masked(self, tick: Tick | None) -> Tensor:
        (B, N), rows = self.F.shape[:2], list(self._masked_rows)
        done = sum(map(len, rows))
        try:
            with closing(self.run_masked(self.model, self.x, self.F, len(rows))) as chunks:
                for h in chunks:
                    rows.append(h)
                    done += len(h)
                    if tick:
                        tick(done, B * N)
        except BaseException:
            self._masked_rows = rows
            raise
        self._masked_rows = []
        return torch.cat(rows).reshape(B, N, -1)

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
        self.weights: dict[str, Tensor] = {}  # unclamped alpha by method

    @property
    def F(self) -> Tensor:
        """Feature maps [B,N,P,Q]."""
        return self.view.F

    def _score(self, h: Tensor, k: Tensor) -> Tensor:
        return self.source.score(self.classifier(h), k)

    @cached_property
    def score(self) -> Tensor:
        """The score [B]."""
        with torch.no_grad():
            return self._score(self.view.h, self.k)

    @cached_property
    def G(self) -> Tensor:
        """Gradient of the score at F [B,N,P,Q] (the derivative in Eq. 5), through the head only."""
        F, logits = self._through_head
        with torch.enable_grad():
            return torch.autograd.grad(self.source.score(logits, self.k).sum(), F)[0]

    @property
    def logits(self) -> Tensor:
        """Logits [B,C] of the classifier, from the forward pass that G differentiates."""
        return self._through_head[1].detach()

    @cached_property
    def _through_head(self) -> tuple[Tensor, Tensor]:
        F = self.view.F.detach().requires_grad_()
        with torch.enable_grad():
            return F, self.classifier(self.view.model.neck(F, self.view.tokens))

    @torch.no_grad()
    def masked_scores(self, tick: Tick | None = None) -> Tensor:
        """Scores [B,N] of the image masked by each of its feature maps."""
        h = self.view.masked(tick)
        return torch.stack([self._score(h[b], self.k[b].expand(h.shape[1])) for b in range(len(h))])

    @torch.no_grad()
    def ablated_scores(self, tick: Tick | None = None) -> Tensor:
        """Scores [B,N] with each channel of F set to zero in turn."""
        B, N = self.F.shape[:2]
        rows = []
        for b in range(B):
            for start in range(0, N, CHUNK):
                logits = self._logits_without(b, slice(start, start + CHUNK))
                rows.append(self.source.score(logits, self.k[b].expand(len(logits))))
                if tick:
                    tick(b * N + start + len(logits), B * N)
        return torch.cat(rows).reshape(B, N)

    def _logits_without(self, b: int, channels: slice) -> Tensor:
        """Logits [n,C] of image b, each with one of the channels of F set to zero; y - w_i h_i for a linear head."""
        if isinstance(self.view.model.neck, GlobalAveragePool) and type(self.classifier) is nn.Linear:
            h = self.view.h[b]
            logits: Tensor = self.classifier(h) - (self.classifier.weight[:, channels] * h[channels]).T
        else:
            logits = self.classifier(self.view.without_channel(b, channels))
        return logits
