"""The effect of a distortion on one image: maps and measures before and after, from one pass of the trunk."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..images import render
from ..models.dual_branch import DualBranch
from ..models.heads import last_linear
from ..models.losses import balanced_bce
from . import distortions, methods
from .sources import SOURCES
from .view import View

Maps = dict[tuple[str, bool], Tensor]  # [P,Q] by (source, clamp)

MAX_SHIFT = 1e6  # of a weight, whose size is about 0.1: a million times more leaves nothing to see
TAU = 0.2  # threshold of the boxes that are compared


@dataclass(frozen=True)
class Distortion:
    """A sum of shifts of the rows of the last layer.

    `delta` on each of `channels` (Eq. 9), -`uniform` on all channels (Eq. 10), `flip` % of the class's positive
    weights negated, `centre`: minus the class-mean row. `only`: only the row of the explained class, a control that
    changes softmax. `both`: in the sigmoid branch too.
    """

    channels: tuple[int, ...] = ()
    delta: float = 0.0
    flip: float = 0.0
    uniform: float = 0.0
    centre: bool = False
    only: bool = False
    both: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a shift that is no number or too large for single precision."""
        for name, value in (("delta", self.delta), ("uniform", self.uniform)):
            if not abs(value) <= MAX_SHIFT:
                raise ValueError(
                    f"Expected {name} to be a number from {-MAX_SHIFT:,.0f} to {MAX_SHIFT:,.0f}, got {value:g}: choose "
                    "a smaller one."
                )

    def vector(self, classifier: nn.Module, k: int) -> Tensor:
        """d [N_pen] for class k. Raises ValueError for channels or percentages out of range."""
        weight = last_linear(classifier).weight.detach()
        N = weight.shape[1]
        d = distortions.channel_shift(N, self.channels, self.delta) + distortions.uniform_shift(N, self.uniform)
        d = d + distortions.sign_flip(weight[k].cpu(), self.flip)
        return d + distortions.centring(weight).cpu() if self.centre else d

    def equation(self) -> str:
        """The distortion in one line, with its values."""
        parts = []
        if self.channels and self.delta:
            names = ", ".join(map(str, self.channels))
            parts.append(f"w'_i = w_i {self.delta:+.3g} for channel{'s' * (len(self.channels) > 1)} {names} (Eq. 9)")
        if self.uniform:
            parts.append(f"w'_i = w_i {-self.uniform:+.3g} for every channel (Eq. 10)")
        if self.flip:
            parts.append(f"w'_i = -w_i for the {self.flip:g} % strongest positive channels")
        if self.centre:
            parts.append("w'_i = w_i - mean over classes")
        rows = "the explained class only" if self.only else "every class"
        return f"{'; '.join(parts)}; added to {rows}" if parts else "no distortion"


@dataclass(frozen=True)
class Outcome:
    """Signed maps [P,Q] by (source, clamp) and logits [C] by branch, before and after, and measures of the change."""

    before: Maps
    after: Maps
    logits_before: dict[str, Tensor]
    logits_after: dict[str, Tensor]
    numbers: dict[str, Any]


def branches(model: DualBranch) -> list[str]:
    """Names of the classifiers of a model."""
    return ["softmax"] + (["sigmoid"] if model.sigmoid is not None else [])


def classifiers(model: DualBranch, distortion: Distortion, k: int) -> dict[str, nn.Module]:
    """The classifiers after the distortion of the softmax head and, with `both`, of the branch."""
    d = distortion.vector(model.softmax, k)
    only = k if distortion.only else None
    made = {branch: model.classifier(branch) for branch in branches(model)}
    for branch in made if distortion.both else ["softmax"]:
        made[branch] = distortions.shifted(made[branch], d, only)
    return made


def distort(view: View, k: int, method: str, distortion: Distortion) -> Outcome:
    """Maps and measures of class k on a view of one image, before and after a distortion.

    The trunk does not run again; gradients at F are those of the distorted head. Raises ValueError for an unknown
    method, class or channel, a method that follows no shift, or a view of several images.
    """
    if len(view.F) != 1:
        raise ValueError(f"Expected a view of one picture, got {len(view.F)}.")
    own = {branch: view.model.classifier(branch) for branch in branches(view.model)}
    new = classifiers(view.model, distortion, k)
    (before, l0), (after, l1) = (_maps_and_logits(view, k, method, made, SOURCES) for made in (own, new))
    return Outcome(before, after, l0, l1, _numbers(before, after, l0, l1, k))


def distorted_maps(view: View, k: int, method: str, distortion: Distortion) -> tuple[Maps, dict[str, Tensor]]:
    """Maps and logits after a distortion, of the sources and classifiers that it can change.

    A shift common to all classes changes no map of an invariant source, and the branch only with `both`.
    """
    made = classifiers(view.model, distortion, k)
    changed = {key for key in made if key == "softmax" or distortion.both}
    invariant = {key for key, source in SOURCES.items() if source.invariant}
    return _maps_and_logits(view, k, method, made, changed | (invariant if distortion.only else set()))


def _maps_and_logits(
    view: View, k: int, method: str, made: dict[str, nn.Module], keys: Collection[str]
) -> tuple[Maps, dict[str, Tensor]]:
    """Maps by (source, clamp) and logits by branch, each head run once."""
    _check(method)
    maps: Maps = {}
    logits: dict[str, Tensor] = {}
    for key in keys:
        if (branch := SOURCES[key].branch) in made:
            evidence = view.evidence(key, k, made[branch])
            maps |= {(key, clamp): methods.class_map(evidence, method, clamp)[0] for clamp in (False, True)}
            logits.setdefault(branch, evidence.logits[0])
    return maps, logits


def _check(method: str) -> None:
    """Raises ValueError for a method whose map would take the trunk again after every shift."""
    entry = methods.find(method)
    if not entry.follows:
        raise ValueError(f"{entry.label} does not follow a shift of the weights: distort the map of a CAM method.")


def _numbers(before: Maps, after: Maps, l0: dict[str, Tensor], l1: dict[str, Tensor], k: int) -> dict[str, Any]:
    p0, p1 = (logits["softmax"].softmax(0) for logits in (l0, l1))
    out: dict[str, Any] = {
        "max_dp": float((p1 - p0).abs().max()),
        "top5_unchanged": p0.topk(min(5, len(p0))).indices.tolist() == p1.topk(min(5, len(p1))).indices.tolist(),
        "p": [float(p0[k]), float(p1[k])],
        "logit": [float(l0["softmax"][k]), float(l1["softmax"][k])],
    }
    if "sigmoid" in l0:
        truth = torch.tensor([k])
        out["s"] = [float(logits["sigmoid"][k].sigmoid()) for logits in (l0, l1)]
        out["branch_loss"] = [float(balanced_bce(logits["sigmoid"][None], truth)) for logits in (l0, l1)]
    out["maps"] = {key: map_changes(before[key, c], after[key, c]) for key, c in before if c == SOURCES[key].clamp}
    return out


def map_changes(a: Tensor, b: Tensor, tau: float = TAU) -> dict[str, float]:
    """Change of a map: Spearman rank correlation, IoU of the boxes at tau, share of positions with another sign."""
    iou = distortions.box_iou(*(box_of_map(S, tau) for S in (a, b)))
    return {"spearman": distortions.spearman(a, b), "box_iou": iou, "sign_changes": distortions.sign_changes(a, b)}


def box_of_map(S: Tensor, tau: float = TAU) -> render.Box | None:
    """The box of a map after enlarge, ReLU and min-max; None where ReLU leaves nothing."""
    fine = render.enlarge(S.cpu().numpy())
    return None if render.is_blank(S) else render.box_at(render.scaled([fine])[0].values, tau)


def gauge(classifier: nn.Module) -> dict[str, Any]:
    """The class-mean row of a head, which softmax does not determine, compared with its rows.

    `mean_norm`: ||w_mean||, `row_norm`: root mean square of ||w_k||, `share`: their ratio, 0 for centred rows, to which
    weight decay leads, and 1 for equal rows. `per_channel`: |mean_i| / rms_i, [N_pen].
    """
    weight = last_linear(classifier).weight.detach().double()
    mean, rms = weight.mean(0), weight.square().mean(0).sqrt()
    row = float(weight.square().sum(1).mean().sqrt())
    per_channel = (mean.abs() / rms.clamp(min=1e-12)).tolist()
    norm = float(mean.norm())
    return {"mean_norm": norm, "row_norm": row, "share": norm / max(row, 1e-12), "per_channel": per_channel}


def row_cosines(model: DualBranch) -> dict[str, float] | None:
    """Mean cosine similarity of w_k in softmax and branch, over classes: of the rows, and of the centred rows.

    None without a branch, or where the inputs of the last layers differ (MLP).
    """
    if model.sigmoid is None or not isinstance(model.softmax, nn.Linear):
        return None
    a, b = (last_linear(head).weight.detach().double() for head in (model.softmax, model.sigmoid))
    pairs = {"rows": (a, b), "centred": (a - a.mean(0), b - b.mean(0))}
    return {name: float(torch.cosine_similarity(x, y, dim=1).mean()) for name, (x, y) in pairs.items()}


def tolerance(
    view: View, k: int, method: str = "cam", channels: tuple[int, ...] = (), reach: float = 64.0, steps: int = 49
) -> dict[str, float | None]:
    """The smallest shifts, down and up, at which the IoU of the softmax map's box is at most 0.5, else None.

    delta is searched on a geometric grid up to `reach` times `scale`, the root mean square of the class's weights, then
    by bisection; it is added on `channels`, or on all without any. Raises ValueError for a method that follows no
    shift.
    """
    _check(method)
    weight = last_linear(view.model.softmax).weight.detach()
    scale = float(weight[k].square().mean().sqrt())
    everywhere = tuple(range(weight.shape[1]))
    clamp = SOURCES["softmax"].clamp
    start = box_of_map(methods.class_map(view.evidence("softmax", k), method, clamp)[0])

    def holds(delta: float) -> bool:
        made = classifiers(view.model, Distortion(channels or everywhere, delta), k)
        S = methods.class_map(view.evidence("softmax", k, made["softmax"]), method, clamp)[0]
        return distortions.box_iou(start, box_of_map(S)) > 0.5

    def first_loss(sign: int) -> float | None:
        grid = sign * scale * np.geomspace(reach / 2**12, reach, steps)
        fine = 0.0
        for delta in grid:
            if not holds(delta):
                return _bisect(holds, fine, float(delta))
            fine = float(delta)
        return None

    return {"down": first_loss(-1), "up": first_loss(1), "scale": scale}


def _bisect(holds: Callable[[float], bool], fine: float, lost: float, rounds: int = 12) -> float:
    for _ in range(rounds):
        middle = (fine + lost) / 2
        fine, lost = (middle, lost) if holds(middle) else (fine, middle)
    return lost


def protocol(distortion: Distortion) -> dict[str, Any]:
    """The distortion as a dict for JSON."""
    return asdict(distortion) | {"equation": distortion.equation()}
