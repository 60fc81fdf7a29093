"""What a distortion does to one picture: the maps and numbers before and after, from the same pass of the trunk."""

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

TAU = 0.2  # the threshold of the boxes that are compared


@dataclass(frozen=True)
class Distortion:
    """What is added to the rows of the last layer; the parts add up.

    `delta` on every one of `channels` (Eq. 9), -`uniform` on all channels (Eq. 10), `flip` % of the class's positive
    channels turned over, `centre`: minus the class-mean row. `only`: on the explained class alone, the contrast that
    softmax does see. `both`: into the sigmoid branch too.
    """

    channels: tuple[int, ...] = ()
    delta: float = 0.0
    flip: float = 0.0
    uniform: float = 0.0
    centre: bool = False
    only: bool = False
    both: bool = False

    def vector(self, classifier: nn.Module, k: int) -> Tensor:
        """d [N_pen] for class k. Raises ValueError for channels or percentages out of range."""
        weight = last_linear(classifier).weight.detach()
        N = weight.shape[1]
        d = distortions.channel_shift(N, self.channels, self.delta) + distortions.uniform_shift(N, self.uniform)
        d = d + distortions.sign_flip(weight[k].cpu(), self.flip)
        return d + distortions.centring(weight).cpu() if self.centre else d

    def equation(self) -> str:
        """The distortion in one line, with its numbers."""
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
    """Before and after: signed maps [P,Q] by (source, clamp), logits [C] by branch, and what changed."""

    before: dict[tuple[str, bool], Tensor]
    after: dict[tuple[str, bool], Tensor]
    logits_before: dict[str, Tensor]
    logits_after: dict[str, Tensor]
    numbers: dict[str, Any]


def branches(model: DualBranch) -> list[str]:
    """The classifiers there are."""
    return ["softmax"] + (["sigmoid"] if model.sigmoid is not None else [])


def classifiers(model: DualBranch, distortion: Distortion, k: int) -> dict[str, nn.Module]:
    """The classifiers with the distortion in them: the softmax head, and where `both` is asked the branch."""
    d = distortion.vector(model.softmax, k)
    only = k if distortion.only else None
    made = {branch: model.classifier(branch) for branch in branches(model)}
    for branch in made if distortion.both else ["softmax"]:
        made[branch] = distortions.shifted(made[branch], d, only)
    return made


def distort(view: View, k: int, method: str, distortion: Distortion) -> Outcome:
    """Maps and numbers of class k on a view of one picture, before and after a distortion.

    The trunk is not run again; gradients at F are taken through the distorted head. Raises ValueError for an unknown
    method, a class or channel there is not, or a view of several pictures.
    """
    if len(view.F) != 1:
        raise ValueError(f"Expected a view of one picture, got {len(view.F)}.")
    own = {branch: view.model.classifier(branch) for branch in branches(view.model)}
    new = classifiers(view.model, distortion, k)
    (before, l0), (after, l1) = (_maps_and_logits(view, k, method, made, SOURCES) for made in (own, new))
    return Outcome(before, after, l0, l1, _numbers(before, after, l0, l1, k))


def distorted_maps(
    view: View, k: int, method: str, distortion: Distortion
) -> tuple[dict[tuple[str, bool], Tensor], dict[str, Tensor]]:
    """Maps and logits after a distortion, of those sources and classifiers that it can move.

    A shift common to all classes moves no log-odds map, and the branch only when it is put there as well.
    """
    made = classifiers(view.model, distortion, k)
    moving = {key for key in made if key == "softmax" or distortion.both}
    return _maps_and_logits(view, k, method, made, moving | ({"log-odds"} if distortion.only else set()))


def _maps_and_logits(
    view: View, k: int, method: str, made: dict[str, nn.Module], keys: Collection[str]
) -> tuple[dict[tuple[str, bool], Tensor], dict[str, Tensor]]:
    """Maps by (source, clamp) and logits by branch, each head passed once."""
    maps, logits = {}, {}
    for key in keys:
        if (branch := SOURCES[key].branch) in made:
            evidence = view.evidence(key, k, made[branch])
            maps |= {(key, clamp): methods.class_map(evidence, method, clamp)[0] for clamp in (False, True)}
            logits.setdefault(branch, evidence.logits[0])
    return maps, logits


def _numbers(before: dict, after: dict, l0: dict[str, Tensor], l1: dict[str, Tensor], k: int) -> dict[str, Any]:
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
    """How far a map went: Spearman rank correlation, IoU of the boxes at tau, share of positions that changed sign."""
    iou = distortions.box_iou(*(box_of_map(S, tau) for S in (a, b)))
    return {"spearman": distortions.spearman(a, b), "box_iou": iou, "sign_changes": distortions.sign_changes(a, b)}


def box_of_map(S: Tensor, tau: float = TAU) -> render.Box | None:
    """The box of a map as it is shown: enlarged, rectified, min-maxed; None for a blank one."""
    fine = render.enlarge(S.cpu().numpy())
    return None if render.is_blank(S) else render.box_at(render.scaled([fine])[0].values, tau)


def gauge(classifier: nn.Module) -> dict[str, Any]:
    """Where a trained head stands in the freedom softmax leaves it: its class-mean row against its rows.

    `mean_norm` ||w_mean||, `row_norm` the root mean square of ||w_k||, `share` their ratio: 0 is the centred gauge, to
    which weight decay pulls; 1 is a head whose classes differ by nothing. `per_channel` |mean_i| over rms_i, [N_pen].
    """
    weight = last_linear(classifier).weight.detach().double()
    mean, rms = weight.mean(0), weight.square().mean(0).sqrt()
    row = float(weight.square().sum(1).mean().sqrt())
    per_channel = (mean.abs() / rms.clamp(min=1e-12)).tolist()
    norm = float(mean.norm())
    return {"mean_norm": norm, "row_norm": row, "share": norm / max(row, 1e-12), "per_channel": per_channel}


def row_cosines(model: DualBranch) -> dict[str, float] | None:
    """Mean cosine of a class's two rows, w_k of softmax and of the branch: as they are, and less their class means.

    None where there is no branch, or where the last layers read different vectors (an MLP's).
    """
    if model.sigmoid is None or not isinstance(model.softmax, nn.Linear):
        return None
    rows = [last_linear(head).weight.detach().double() for head in (model.softmax, model.sigmoid)]
    centred = [weight - weight.mean(0) for weight in rows]
    return {
        name: float(torch.cosine_similarity(*pair, dim=1).mean())
        for name, pair in (("rows", rows), ("centred", centred))
    }


def tolerance(
    view: View, k: int, method: str = "cam", channels: tuple[int, ...] = (), reach: float = 64.0, steps: int = 49
) -> dict[str, float | None]:
    """The smallest shifts, down and up, at which the softmax map's box loses half its IoU; None beyond the reach.

    delta is sought on a geometric grid up to `reach` times the root mean square of the class's weights, then bisected;
    on `channels`, or on all of them when none are named. Also `scale`, that root mean square.
    """
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
    """The distortion as plain data, for files."""
    return asdict(distortion) | {"equation": distortion.equation()}
