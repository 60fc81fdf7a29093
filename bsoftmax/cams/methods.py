"""The registry of methods; the CAM functions, which return the channel weights alpha, and the weighted sum S.

S^(p,q) = sum_i alpha_i^(p,q) F_i^(p,q) (Eq. 4). Maps are signed and unscaled; `clamp` applies to alpha, and ReLU and
scaling belong to rendering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.dual_branch import DualBranch
from ..models.heads import GlobalAveragePool, is_gap_linear, pools_first
from ..utils.text import quoted
from . import attention, channels, pixels, relevance, rise
from .sources import find as find_source
from .view import Evidence, Tick, View

EPS = 1e-7


def cam(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i = sum_pq G_i^(p,q), which is w_ik when the head is GAP + linear (Zhou et al. 2016; Eq. 4): [B,N,1,1]."""
    return G.sum((2, 3), keepdim=True)


def gradcam(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i = 1/(PQ) sum_pq G_i^(p,q) (Selvaraju et al. 2017; Eq. 5): [B,N,1,1]."""
    return G.mean((2, 3), keepdim=True)


def gradcam_pp(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i = sum_pq a_i relu(G_i), a = G^2 / (2 G^2 + G^3 sum_ab F^(a,b)) (Chattopadhay et al. 2018, Eq. 19).

    Where G > 0, a relu(G) = G / (2 + G sum_ab F), which needs neither powers of G, which underflow, nor an epsilon.
    """
    positive = G.relu()
    return (positive / (2 + positive * F.sum((2, 3), keepdim=True))).sum((2, 3), keepdim=True)


def xgradcam(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i = sum_pq G_i F_i / sum_pq F_i (Fu et al. 2020): [B,N,1,1]; 0 for a channel that sums to 0."""
    total = F.sum((2, 3), keepdim=True)
    return torch.where(total == 0, 0.0, (G * F).sum((2, 3), keepdim=True) / total)


def layercam(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i^(p,q) = relu(G_i^(p,q)) (Jiang et al. 2021): [B,N,P,Q]."""
    return G.relu()


def hirescam(F: Tensor, G: Tensor) -> Tensor:
    """alpha_i^(p,q) = G_i^(p,q) (Draelos and Carin 2020): [B,N,P,Q]."""
    return G


def scorecam(masked: Tensor, score: Tensor) -> Tensor:
    """alpha = softmax over i of score(x * mask_i) - score(x) (Wang et al. 2020; Eq. 7): [B,N], [B] -> [B,N,1,1]."""
    return (masked - score[:, None]).softmax(1)[:, :, None, None]


def ablationcam(ablated: Tensor, score: Tensor) -> Tensor:
    """alpha_i = (y - y_without_i) / |y| (Ramaswamy and Desai 2020): [B,N], [B] -> [B,N,1,1].

    The paper divides by y; |y| keeps the sign for negative scores.
    """
    y = score[:, None]
    return ((y - ablated) / y.abs().clamp(min=EPS))[:, :, None, None]


@dataclass(frozen=True)
class Method:
    """A registry entry: `weights` takes the arguments that `needs` names and returns alpha, [B,N,1,1] or [B,N,P,Q].

    With `gives="map"`, for a method without channel weights, it returns the map S, [B,P,Q] or at pixels [B,H,W].
    """

    key: str
    label: str
    weights: Callable[..., Tensor]
    needs: str  # "gradient": F, G | "masked" or "ablated": scores [B,N], score [B] | "features": F | "evidence": itself
    paper: str
    gives: str = "weights"
    slow: bool = False  # runs the trunk again
    passes: int = 0  # of the trunk for one map, one with its gradient as three; not known of Score-CAM
    shares: str = ""  # what of these passes the view keeps for all classes and heads; "": they are run for each
    class_free: bool = False  # independent of class and head
    centred: bool = False  # sums F minus its mean over positions
    nonnegative: bool = False  # alpha is never negative: the clamp changes nothing
    confidence: bool = False  # explains a probability, not the source's score
    more: bool = False  # computed where it is asked for, not among all methods
    shows: str = ""  # what its map shows, where no clamp tells
    unsuited: Callable[[DualBranch], str | None] = lambda model: None  # why not with a model: a sentence about {method}
    lacks: Callable[[], str | None] = lambda: None  # which package, here: the same

    @property
    def clamps(self) -> bool:
        """Whether the positive clamp has a meaning: alpha has signs."""
        return self.gives == "weights" and not self.class_free

    @property
    def follows(self) -> bool:
        """Whether its map can follow a shift of the head's weights without another pass of the trunk."""
        return self.gives == "weights" and (not self.slow or bool(self.shares))


def _no_cam(model: DualBranch) -> str | None:
    if is_gap_linear(model.neck, model.softmax):
        return None
    return "{method} needs a head of average pooling and one linear layer, which this model's is not: use Grad-CAM."


_ATTENTION: dict[str, Any] = {
    "needs": "evidence", "gives": "map", "slow": True, "passes": 1, "shares": attention.KEPT, "more": True,
    "unsuited": attention.unsuited,
}  # fmt: skip
_PIXELS: dict[str, Any] = {"needs": "evidence", "gives": "map", "slow": True, "passes": 3, "more": True}
_CAPTUM: dict[str, Any] = {**_PIXELS, "lacks": pixels.missing}
METHODS: dict[str, Method] = {
    method.key: method
    for method in (
        Method("cam", "CAM", cam, "gradient", "Zhou et al., CVPR 2016", unsuited=_no_cam),
        Method("gradcam", "Grad-CAM", gradcam, "gradient", "Selvaraju et al., ICCV 2017"),
        Method("gradcam++", "Grad-CAM++", gradcam_pp, "gradient", "Chattopadhay et al., WACV 2018"),
        Method("xgradcam", "XGrad-CAM", xgradcam, "gradient", "Fu et al., BMVC 2020"),
        Method("layercam", "Layer-CAM", layercam, "gradient", "Jiang et al., TIP 2021", nonnegative=True),
        Method("hirescam", "HiRes-CAM", hirescam, "gradient", "Draelos and Carin, 2020"),
        Method("ablationcam", "Ablation-CAM", ablationcam, "ablated", "Ramaswamy and Desai, WACV 2020"),
        Method("eigencam", "Eigen-CAM", channels.eigencam, "features", "Muhammad 2020", class_free=True, centred=True,
               shows="where the features vary most"),
        Method("scorecam", "Score-CAM", scorecam, "masked", "Wang et al., CVPRW 2020", slow=True, shares="channels",
               nonnegative=True),
        Method("liftcam", "LIFT-CAM", channels.liftcam, "contributions", "Jung and Oh, ICCV 2021", more=True,
               unsuited=channels.no_lift),
        Method("opticam", "Opti-CAM", channels.opticam, "evidence", "Zhang et al., CVIU 2024", slow=True, more=True,
               passes=3 * channels.STEPS, nonnegative=True),
        Method("rollout", "Attention rollout", attention.rollout, paper="Abnar and Zuidema, ACL 2020", **_ATTENTION,
               class_free=True, shows="which patches the class token attends to, through all blocks"),
        Method("tscam", "TS-CAM", attention.tscam, paper="Gao et al., ICCV 2021", **_ATTENTION,
               shows="what each patch says for it, times the class token's attention to that patch"),
        Method("saliency", "Saliency", pixels.saliency, paper="Simonyan et al., ICLR workshop 2014", **_CAPTUM,
               shows="where a small change of a pixel moves the score most, up or down"),
        Method("deeplift", "DeepLIFT", relevance.deeplift, paper="Shrikumar et al., ICML 2017",
               **_CAPTUM | {"passes": 8}, unsuited=relevance.no_deeplift,  # of image and mean colour together
               shows="the difference of the score from an image of the mean colour, shared by one pass back"),
        Method("lrp", "LRP", relevance.lrp, paper="Bach et al., PLoS ONE 2015", **_PIXELS,
               unsuited=relevance.no_lrp,
               shows="the score handed back to the pixels, layer by layer"),
        Method("smoothgrad", "SmoothGrad", pixels.smoothgrad, paper="Smilkov et al., 2017",
               **_CAPTUM | {"passes": 3 * pixels.SAMPLES},
               shows="where a small change of a pixel moves the score most, on average over noisy copies"),
        Method("intgrad", "Integrated Gradients", pixels.integrated_gradients, paper="Sundararajan et al., ICML 2017",
               **_CAPTUM | {"passes": 3 * pixels.STEPS},
               shows="the difference of the score from an image of the mean colour, shared among the pixels"),
        Method("rise", "RISE", rise.rise, "evidence", "Petsiuk et al., BMVC 2018", "map", slow=True, passes=rise.MASKS,
               shares="rise", confidence=True, more=True,
               shows="how sure the head is, on average, where a place is visible under a random mask"),
    )
}  # fmt: skip

_ARGUMENTS: dict[str, Callable[[Evidence, Tick | None], tuple[Any, ...]]] = {
    "gradient": lambda e, tick: (e.F, e.G),
    "masked": lambda e, tick: (e.masked_scores(tick), e.score),
    "ablated": lambda e, tick: (e.ablated_scores(tick), e.score),
    "features": lambda e, tick: (e.F,),
    "contributions": lambda e, tick: (channels.contributions(e),),
    "evidence": lambda e, tick: (e, tick),
}


def find(key: str) -> Method:
    """The entry of METHODS. Raises ValueError, with the known keys, for an unknown one."""
    if key not in METHODS:
        raise ValueError(f"There is no method {quoted(key)}; choose one of {', '.join(METHODS)}.")
    return METHODS[key]


def weigh(evidence: Evidence, method: str, clamp: bool | None = None, tick: Tick | None = None) -> Tensor:
    """alpha [B,N,1,1] or [B,N,P,Q] of a method; `clamp` replaces it by max(0, alpha) (Sec. 3.3).

    `clamp=None`: as in the paper, for the sigmoid branch only. Class-free methods are never clamped, since the sign of
    their weights is arbitrary. Raises ValueError where `unavailable` gives a reason, or for a method without weights.
    """
    entry = find(method)
    if entry.gives == "map":
        raise ValueError(f"{entry.label} has no channel weights: ask class_map for its map.")
    alpha = _result(evidence, entry, tick)
    clamp = evidence.source.clamp if clamp is None else clamp
    return alpha.clamp(min=0) if clamp and entry.clamps else alpha


def class_map(evidence: Evidence, method: str, clamp: bool | None = None, tick: Tick | None = None) -> Tensor:
    """S^(p,q) = sum_i alpha_i^(p,q) F_i^(p,q), signed and unscaled: [B,P,Q] (Eq. 4).

    Of a method without channel weights its own map, [B,P,Q] or at pixels [B,H,W], which no clamp changes. Raises
    ValueError as `weigh` does.
    """
    if find(method).gives == "map":
        return _result(evidence, find(method), tick)
    alpha, F = weigh(evidence, method, clamp, tick), evidence.F
    if find(method).centred:
        F = F - F.mean((2, 3), keepdim=True)
    return (alpha * F).sum(1)


def _result(evidence: Evidence, entry: Method, tick: Tick | None) -> Tensor:
    """alpha or S of a method, from where it is kept or computed."""
    view, method = evidence.view, entry.key
    if reason := unavailable(view.model, method):
        raise ValueError(reason)
    make: Callable[[], Tensor] = lambda: entry.weights(*_ARGUMENTS[entry.needs](evidence, tick))  # noqa: E731
    cache = view.weights if entry.class_free else evidence.weights
    if method not in cache:
        each = entry.slow and not entry.shares and evidence.own  # of a distorted head nothing is kept
        key = (method, evidence.source.key, *evidence.k.tolist())
        cache[method] = view.remember(key, make) if each else make()
    return cache[method]


def explain(
    model: DualBranch, x: Tensor, k: Tensor | int | None = None, method: str = "cam", source: str = "sigmoid",
    clamp: bool | None = None,
) -> Tensor:  # fmt: skip
    """The signed map [B,P,Q], or at pixels, of class k (default: softmax's prediction) for images x [B,3,H,W].

    Raises ValueError for an unknown method or source, a class out of range, a missing sigmoid branch, or a method
    that is unavailable for the head.
    """
    view = View(model, x)
    k = view.logits("softmax").argmax(1) if k is None else torch.as_tensor(k)
    fits = not k.is_floating_point() and k.shape in ((), (1,), (len(x),))
    if not fits or k.min() < 0 or k.max() >= len(model.classes):
        raise ValueError(
            f"Classes are whole numbers from 0 to {len(model.classes) - 1}, one for all images or one each, "
            f"got {k.tolist()}."
        )
    return class_map(view.evidence(source, k), method, clamp)


def unavailable(model: DualBranch, method: str) -> str | None:
    """Why a method cannot be used with a model, or here, in one sentence; None when it can."""
    entry = find(method)
    reason = entry.unsuited(model) or entry.lacks()
    return reason.format(method=entry.label) if reason else None


def offered(model: DualBranch) -> list[str]:
    """The methods that suit a model, whether or not what they need is installed."""
    return [key for key, entry in METHODS.items() if entry.unsuited(model) is None]


def default(model: DualBranch) -> str:
    """CAM where it is available, else Grad-CAM."""
    return "cam" if unavailable(model, "cam") is None else "gradcam"


def quick_to_follow(model: DualBranch, method: str) -> str:
    """The method, where its map follows a shift of the weights at once, else the model's default."""
    return method if find(method).follows and not takes_seconds(model, method) else default(model)


def takes_seconds(model: DualBranch, method: str) -> bool:
    """Whether a method runs the trunk again, or a head other than pooling and linear layers once for each channel."""
    return METHODS[method].slow or (
        METHODS[method].needs == "ablated" and not isinstance(model.neck, GlobalAveragePool)
    )


def identical_by_construction(model: DualBranch, source: str, clamp: bool | None = None) -> list[frozenset[str]]:
    """Groups of methods whose maps are equal up to a positive factor for every image.

    With pooling first, the gradient G is equal at all positions, so sum G, mean G, sum GF / sum F and G are
    proportional; with the clamp, relu(G) is too. Otherwise only HiRes-CAM and Layer-CAM are equal, with the clamp.
    Where the head is GAP + linear and the score linear in the logits, LIFT-CAM is Ablation-CAM times |y|.
    """
    clamped = find_source(source).clamp if clamp is None else clamp
    if pools_first(model.neck):
        group = {"cam", "gradcam", "xgradcam", "hirescam"} | ({"layercam"} if clamped else set())
    else:
        group = {"hirescam", "layercam"} if clamped else set()
    groups = [{method for method in group if unavailable(model, method) is None}]
    if is_gap_linear(model.neck, model.softmax) and find_source(source).linear:
        groups.append({"ablationcam", "liftcam"})
    return [frozenset(group) for group in groups if len(group) > 1]
