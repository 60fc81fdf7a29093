"""Fidelity of maps: how the classifier's confidence changes on the image masked by its own map.

Pictures are [3,H,W] in [0, 1]: masks are multiplied onto them before normalisation. Every masked picture runs through
the trunk once for all methods, heads and metrics. The metrics are functions of the confidence p on the image and q on
the masked image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from ..cams.sources import find as find_source
from ..cams.view import View
from ..data.loader import batches
from ..images import render
from ..models.dual_branch import DualBranch

STEPS = 28  # of Deletion and Insertion: 8 rows of 224 pixels each
BATCH = 32  # pictures in the trunk at once
BLUR = (11, 5.0)  # kernel side and sigma in pixels of Insertion's start (Petsiuk et al. 2018, their code)
SAME = 1e-5  # masks that differ by less at every position count as equal
SCORINGS = ("softmax", "own")
RULES = {  # the part of the protocol that every result carries
    "mask": "ReLU, min-max to [0, 1], bicubic to the input's size, clipped to [0, 1]",
    "masked": "multiplied onto the picture in [0, 1], before normalisation",
    "scorings": "softmax: p of the frozen head for every source; own: sigmoid(s) for the branch, else p",
    "order": "signed map, bicubic to the input's size, highest first, ties in reading order",
    "deletion": "to the mean colour, which normalisation makes 0",
    "insertion": f"from a Gaussian blur of {BLUR[0]} x {BLUR[0]} pixels, sigma {BLUR[1]:g}, edges reflected",
    "steps": str(STEPS),
}


def masks(S: Tensor, size: tuple[int, int]) -> Tensor:
    """clip(upsample(minmax(ReLU(S)))) to [0, 1], bicubic: [M,P,Q] -> [M,H,W]; 0 for a blank map.

    Raises ValueError for NaN or infinity.
    """
    return render.upsample(render.minmax(render.rectify(S)), size).clamp(0, 1)


def distinct(S: Tensor, rectify: bool = True) -> tuple[Tensor, Tensor]:
    """Maps S [M,P,Q] with the same mask: (index of the first of each kind [U], the kind of each map [M]).

    Maps that are identical, by construction or by chance, thus share one trunk pass. `rectify=False` compares the
    signed maps, which rank the pixels.
    """
    scaled = render.minmax(render.rectify(S) if rectify else S).flatten(1)
    first: list[int] = []
    kinds: list[int] = []
    for m in range(len(scaled)):
        equal = ((scaled[first] - scaled[m]).abs().amax(1) < SAME).nonzero().flatten().tolist() if first else []
        kinds.append(equal[0] if equal else len(first))
        if not equal:
            first.append(m)
    return torch.tensor(first), torch.tensor(kinds)


def normalise(model: DualBranch, pixels: Tensor) -> Tensor:
    """Pictures [n,3,H,W] in [0, 1] -> the trunk's input, on its device and in its precision."""
    pre, like = model.spec.preprocessing, next(model.trunk.parameters())
    return torch.as_tensor(tvf.normalize(pixels.to(like.device, like.dtype), list(pre.mean), list(pre.std)))


def masked_views(
    model: DualBranch, pixels: Tensor, masks: Tensor, owner: Tensor | None = None, batch: int = BATCH
) -> Iterator[tuple[slice, View]]:
    """Runs pixels[owner] * masks through the trunk, `batch` at a time: yields the slice of the masks, and their view.

    [B,3,H,W] in [0, 1], [M,H,W], [M] (default: all masks are of the first picture). A view has both heads' logits and
    the maps of the masked images (for coherency) without a second pass.
    """
    owner = torch.zeros(len(masks), dtype=torch.long) if owner is None else owner
    pixels = pixels.to(masks.device)
    for part in batches(len(masks), batch):
        yield part, View(model, normalise(model, pixels[owner[part]] * masks[part, None]))


def masked_logits(model: DualBranch, pixels: Tensor, masks: Tensor, batch: int = BATCH) -> dict[str, Tensor]:
    """Logits [M,C] of each classifier for one picture [3,H,W] in [0, 1] under each of its masks [M,H,W]."""
    return _logits(model, (view for _, view in masked_views(model, pixels[None], masks, None, batch)))


def _logits(model: DualBranch, views: Iterable[View]) -> dict[str, Tensor]:
    names = [name for name in ("softmax", "sigmoid") if getattr(model, name) is not None]
    rows = [[view.logits(name) for name in names] for view in views]
    return {name: torch.cat(parts) for name, parts in zip(names, zip(*rows))}


def confidence(logits: Tensor, k: Tensor, branch: str) -> Tensor:
    """p_k = softmax(l)_k of the frozen head, s_k = sigmoid(l_k) of the branch: [n,C], [n] -> float64 [n] in [0, 1]."""
    logits = logits.cpu().double()  # some accelerators lack float64
    scores = logits.softmax(1) if branch == "softmax" else logits.sigmoid()
    return scores.gather(1, k.cpu()[:, None]).squeeze(1)


def scoring_head(source: str, scoring: str) -> str:
    """The classifier whose confidence is scored: the frozen head's for every source or, if "own", the source's.

    That of log-odds and of centred rows is the frozen head's, whose p neither changes. Raises ValueError for another
    source or scoring.
    """
    if scoring not in SCORINGS:
        raise ValueError(f"There is no scoring {scoring!r}; choose one of {', '.join(SCORINGS)}.")
    own = find_source(source).branch
    return own if scoring == "own" else "softmax"


def average_drop(p: float, q: float) -> float:
    """100 max(0, p - q)/p in percent, averaged over images (Chattopadhay et al. 2018); 0 where p is 0."""
    return 100 * max(0.0, p - q) / p if p > 0 else 0.0


def increase(p: float, q: float) -> float:
    """100 [q > p] in percent: its mean is the share of images with more confidence (Chattopadhay et al. 2018)."""
    return 100.0 * (q > p)


def average_gain(p: float, q: float) -> float:
    """100 max(0, q - p)/(1 - p) in percent, averaged over images (Zhang et al., Opti-CAM, 2024); 0 where p is 1."""
    return 100 * max(0.0, q - p) / (1 - p) if p < 1 else 0.0


def complexity(mask: Tensor) -> float:
    """100 ||M||_1/(HW) in percent, of a mask [H,W] in [0, 1]: the share of the picture it keeps (Poppi et al. 2021)."""
    return 100 * float(mask.cpu().double().mean())


def coherency(mask: Tensor, again: Tensor) -> float:
    """100 (r + 1)/2 in percent; r is Pearson's correlation of M(x) with M(x M(x)), both [H,W] (Poppi et al. 2021).

    0 where one of them is constant and r undefined, as in the authors' code.
    """
    a, b = (m - m.mean() for m in (mask.cpu().double().flatten(), again.cpu().double().flatten()))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    constant = min(float(m.max() - m.min()) for m in (mask, again)) == 0 or norm == 0
    return 0.0 if constant else 50 * (min(1.0, max(-1.0, float(a @ b) / norm)) + 1)


def adcc(coherency: float, complexity: float, drop: float) -> float:
    """3 (1/Coh + 1/(100 - Com) + 1/(100 - AD))^-1 of one image, all in percent, then averaged (Poppi et al. 2021).

    The harmonic mean: 0 where any part is 0.
    """
    parts = (coherency, 100 - complexity, 100 - drop)
    return 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def order(S: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of a signed map S [P,Q], upsampled bicubically, from the highest to the lowest: [HW].

    The map is not rectified: evidence against the class is last. Ties are in reading order.
    """
    return render.upsample(S, size).flatten().argsort(descending=True, stable=True)


def blank(model: DualBranch, pixels: Tensor) -> Tensor:
    """The end of Deletion: the mean colour of the model's training data, 0 after normalisation.

    [3,H,W] like `pixels` (Petsiuk et al. 2018, their code).
    """
    return torch.tensor(model.spec.preprocessing.mean).to(pixels)[:, None, None].expand_as(pixels)


def blurred(pixels: Tensor) -> Tensor:
    """The start of Insertion: the picture blurred by a Gaussian of sigma 5 on 11 x 11 pixels (Petsiuk et al. 2018).

    Edges are reflected; their code pads with the mean colour. [3,H,W] -> [3,H,W].
    """
    side = min(BLUR[0], 2 * min(pixels.shape[1:]) - 1)  # reflection needs half a kernel of picture
    return torch.as_tensor(tvf.gaussian_blur(pixels, [side, side], [BLUR[1], BLUR[1]]))


def stages(top: Tensor, bottom: Tensor, ranking: Tensor, steps: int = STEPS) -> Tensor:
    """Picture i of the steps: the first round(i HW/steps) pixels of the ranking from `top`, the others from `bottom`.

    [3,H,W], [3,H,W], [HW] -> [steps+1,3,H,W]. Deletion goes from the picture (bottom) to blank (top), Insertion from
    blurred (bottom) to the picture (top). Raises ValueError for less than one step.
    """
    if steps < 1:
        raise ValueError(f"Expected at least one step, got {steps}.")
    rank = ranking.to(top.device).argsort().reshape(top.shape[1:])
    counts = torch.tensor([round(i * rank.numel() / steps) for i in range(steps + 1)], device=rank.device)
    return torch.where((rank < counts[:, None, None])[:, None], top, bottom)


def path(
    model: DualBranch, pixels: Tensor, k: int, ranking: Tensor, kind: str, steps: int = STEPS, batch: int = BATCH
) -> dict[str, Tensor]:
    """Confidence in class k at every step of "deletion" or "insertion", by classifier: float64 [steps+1] each.

    Pictures [3,H,W] in [0, 1]; ranking [HW] of `order`. Raises ValueError for another kind.
    """
    if kind not in ("deletion", "insertion"):
        raise ValueError(f"Expected deletion or insertion, got {kind!r}.")
    ends = (blank(model, pixels), pixels) if kind == "deletion" else (pixels, blurred(pixels))
    pictures = stages(*ends, ranking, steps)
    views = (View(model, normalise(model, pictures[part])) for part in batches(len(pictures), batch))
    index = torch.full((len(pictures),), k)
    return {name: confidence(rows, index, name) for name, rows in _logits(model, views).items()}


def auc(curve: Tensor) -> float:
    """100 times the area under a curve over equal steps of the share of pixels, by trapezoids (Petsiuk et al. 2018)."""
    return 100 * float(torch.trapezoid(curve.double(), dx=1 / (len(curve) - 1)))
