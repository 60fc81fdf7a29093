"""Heads that are off centre by construction, made from pooled features: one registry entry each.

Every function takes `Samples` and returns a linear head of their classes. "The ordinary head" is the multinomial
logistic regression that `bsoftmax train` fits, whose rows L2 decay centres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..training.solver import Loss, Optimiser, choose_penalty, minimise
from ..training.vectors import Vectors

COSINE, MARGIN, SCALE = 0.7, 0.35, 30.0  # between text rows; of CosFace, and its scale
BAD = 3.0  # norm of a badly frozen row, in those of the ordinary head
KEPT, SPARSE = 0.1, 0.02  # of the weights by pruning; of the L1 penalty at which all weights are 0
CHECKPOINTS, STEP = 10, 0.5  # of the drift, and its steps in norms of a row
TEMPERATURE = 4.0  # of the teacher (Hinton et al. 2015)
FINE = 1e-6  # penalty that only makes an optimum unique
ROUNDS = 1000  # of the proximal gradient


@dataclass(frozen=True)
class Samples:
    """Pooled features h [n,N] with labels [n], the ordinary head fitted to them with its penalty, and a seed."""

    h: Tensor
    labels: Tensor
    ordinary: nn.Linear
    penalty: float
    seed: int = 0

    @classmethod
    def of(cls, vectors: Vectors, classes: int, seed: int = 0) -> Samples:
        """View 0 of the readable images. Raises ValueError when the features are too large to fit a head."""
        head = nn.Linear(vectors.width, classes)
        optimiser = Optimiser(head, vectors, "softmax", None, seed)
        for _ in optimiser(lambda: False):
            pass
        labels = vectors.labels[vectors.good]
        return cls(vectors.take(vectors.good), labels, head.requires_grad_(False), optimiser.penalty, seed)

    @property
    def classes(self) -> int:
        """C."""
        return self.ordinary.out_features

    @property
    def row_norm(self) -> float:
        """Root mean square norm of the ordinary head's rows."""
        return float(self.ordinary.weight.square().sum(1).mean().sqrt())

    def means(self, h: Tensor) -> Tensor:
        """Class means of h: [C,N]."""
        sums = torch.zeros(self.classes, h.shape[1]).index_add_(0, self.labels, h)
        return sums / torch.bincount(self.labels, minlength=self.classes)[:, None]

    def random_rows(self, *shape: int) -> Tensor:
        """N(0, 1), the same for a seed."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(self.seed))


@dataclass(frozen=True)
class MadeHead:
    """A head of the registry; `source`: who uses such heads, or that it is synthesised here."""

    key: str
    title: str
    source: str
    how: str
    make: Callable[[Samples], nn.Linear]


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A frozen head of these rows [C,N] and biases [C] (0 without)."""
    head = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
    head.weight.copy_(weight)
    head.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return head


def fitted(parameters: list[Tensor], logits: Callable[[], Tensor], labels: Tensor, loss: Loss, penalty: float) -> None:
    """Runs `minimise` to its end."""
    for _ in minimise(parameters, logits, labels, loss, penalty):
        pass
    for p in parameters:
        p.requires_grad_(False)


def scaled(rows: Tensor, s: Samples) -> nn.Linear:
    """exp(t) rows, with the one number t that minimises cross-entropy on h; no bias."""
    z, t = s.h @ rows.T, torch.zeros(())
    fitted([t], lambda: t.exp() * z, s.labels, nnf.cross_entropy, 0.0)
    return linear(t.exp() * rows)


def ordinary(s: Samples) -> nn.Linear:
    """The ordinary head."""
    return linear(s.ordinary.weight, s.ordinary.bias)


def imprinted(s: Samples) -> nn.Linear:
    """w_k = the mean of h/|h| over class k, at length 1, times one scale (Qi et al., CVPR 2018)."""
    return scaled(nnf.normalize(s.means(nnf.normalize(s.h)), dim=1), s)


def cosface(s: Samples) -> nn.Linear:
    """argmin CE(SCALE (cos(w_k, h) - MARGIN [k = y])) from random rows, at length 1, times one scale.

    Wang et al., CVPR 2018. As for every head here the map is that of w_k . h, without the division by |h|.
    """
    W, h = 0.01 * s.random_rows(s.classes, s.h.shape[1]), nnf.normalize(s.h)

    def loss(z: Tensor, labels: Tensor) -> Tensor:
        return nnf.cross_entropy(SCALE * (z - MARGIN * nnf.one_hot(labels, s.classes)), labels)

    fitted([W], lambda: h @ nnf.normalize(W, dim=1).T, s.labels, loss, 0.0)
    return scaled(nnf.normalize(W, dim=1), s)


def nearest_mean(s: Samples) -> nn.Linear:
    """w_k = m_k, b_k = -|m_k|^2/2 with the class means m_k of h (Mensink et al., TPAMI 2013)."""
    means = s.means(s.h)
    return linear(means, -means.square().sum(1) / 2)


def reference(s: Samples) -> nn.Linear:
    """w_k - w_C, b_k - b_C of the ordinary head: the same probabilities with w_C = 0 (McFadden 1974)."""
    W, b = s.ordinary.weight, s.ordinary.bias
    return linear(W - W[-1], b - b[-1])


def _with_frozen(s: Samples, row: Tensor, labels: Tensor, loss: Loss, penalty: float) -> nn.Linear:
    """Rows trained from 0 beside the last class's, which stays where it is."""
    W, b, fixed = torch.zeros(s.classes - 1, len(row)), torch.zeros(s.classes), row[None]
    fitted([W, b], lambda: s.h @ torch.cat([W, fixed]).T + b, labels, loss, penalty)
    return linear(torch.cat([W, fixed]), b)


def frozen(s: Samples) -> nn.Linear:
    """Cross-entropy with the last class's row frozen at -BAD |w| m/|m|, m the mean of h; the ordinary penalty."""
    row = -BAD * s.row_norm * nnf.normalize(s.h.mean(0), dim=0)
    return _with_frozen(s, row, s.labels, nnf.cross_entropy, s.penalty)


def distilled(s: Samples) -> nn.Linear:
    """Cross-entropy to softmax(z/T) of the ordinary head, the last class's row frozen at its random start."""
    with torch.no_grad():
        soft = (s.ordinary(s.h) / TEMPERATURE).softmax(1)

    def loss(z: Tensor, target: Tensor) -> Tensor:
        return nnf.cross_entropy(z / TEMPERATURE, target)

    row = s.row_norm * nnf.normalize(s.random_rows(s.h.shape[1]), dim=0)
    return _with_frozen(s, row, soft, loss, FINE)


def text(s: Samples) -> nn.Linear:
    """w_k = r (u_k + sqrt(0.7/0.3) c): r the ordinary row norm, u_k its centred rows and c random, at length 1."""
    W = s.ordinary.weight
    parts = nnf.normalize(W - W.mean(0), dim=1)
    common = nnf.normalize(s.random_rows(W.shape[1]), dim=0)
    return linear(s.row_norm * (parts + (COSINE / (1 - COSINE)) ** 0.5 * common))


def l1(s: Samples) -> nn.Linear:
    """argmin CE + SPARSE lambda_max |W|_1 by accelerated proximal gradient (Beck and Teboulle 2009)."""
    H = torch.cat([s.h, torch.ones(len(s.h), 1)], 1)
    truth = nnf.one_hot(s.labels, s.classes).to(H)
    step = 2 * len(H) / float(torch.linalg.matrix_norm(H, 2)) ** 2  # the loss's curvature is at most |H|^2/(2n)
    strength = torch.zeros(s.classes, H.shape[1])
    strength[:, :-1] = SPARSE * ((1 / s.classes - truth).T @ s.h / len(H)).abs().max()
    W, ahead, t = torch.zeros_like(strength), torch.zeros_like(strength), 1.0
    for _ in range(ROUNDS):
        moved = ahead - step * ((H @ ahead.T).softmax(1) - truth).T @ H / len(H)
        new = moved.sign() * (moved.abs() - step * strength).clamp(min=0)
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead, W, t = new + (t - 1) / following * (new - W), new, following
    return linear(W[:, :-1], W[:, -1])


def pruned(s: Samples) -> nn.Linear:
    """The ordinary head without its 90 % smallest weights, not trained again (Han et al., NeurIPS 2015)."""
    W = s.ordinary.weight
    least = W.abs().flatten().topk(round(KEPT * W.numel())).values[-1]
    return linear(torch.where(W.abs() >= least, W, 0.0), s.ordinary.bias)


def one_vs_rest(s: Samples) -> nn.Linear:
    """Binary cross-entropy of every class against the rest, its logits used in softmax (as in Wightman et al. 2021)."""

    def loss(z: Tensor, labels: Tensor) -> Tensor:
        return nnf.binary_cross_entropy_with_logits(z, nnf.one_hot(labels, s.classes).to(z))

    head = nn.Linear(s.h.shape[1], s.classes)
    penalty = choose_penalty(head, Vectors.of(s.h[None], s.labels), loss, s.seed)
    W, b = torch.zeros_like(head.weight), torch.zeros_like(head.bias)
    fitted([W, b], lambda: s.h @ W.T + b, s.labels, loss, penalty)
    return linear(W, b)


def drifted(s: Samples) -> nn.Linear:
    """The mean of the ordinary head's rows + d_t over checkpoints t, d_t a random walk common to all classes."""
    N = s.h.shape[1]
    walk = (s.random_rows(CHECKPOINTS, N) * STEP * s.row_norm / N**0.5).cumsum(0)
    return linear(s.ordinary.weight + walk.mean(0), s.ordinary.bias)


SYNTHESISED = "synthesised here"
MADE: dict[str, MadeHead] = {
    made.key: made
    for made in (
        MadeHead(
            "ordinary", "Ordinary head", "control",
            "multinomial logistic regression with L2 decay, at its optimum", ordinary,
        ),
        MadeHead(
            "imprinted", "Cosine head, imprinted", "Qi et al., CVPR 2018",
            "rows are the normalised class means of normalised features, times one scale", imprinted,
        ),
        MadeHead(
            "cosface", "Cosine head, trained with a margin", "CosFace, Wang et al., CVPR 2018",
            f"normalised rows trained from random ones, margin {MARGIN}, scale {SCALE:g}", cosface,
        ),
        MadeHead(
            "nearest-mean", "Nearest class mean", "Mensink et al., TPAMI 2013",
            "rows are the class means m of the features, biases -|m|²/2", nearest_mean,
        ),
        MadeHead(
            "reference", "Reference class", "multinomial logit, McFadden 1974",
            "the ordinary head with the last class's row and bias subtracted from all", reference,
        ),
        MadeHead(
            "frozen", "One row frozen at a bad place", SYNTHESISED,
            f"the last class's row is {BAD:g} row norms against the mean feature, the others are trained", frozen,
        ),
        MadeHead(
            "distilled", "Distilled, one row frozen at its start", f"{SYNTHESISED}; loss of Hinton et al. 2015",
            f"soft labels of the ordinary head at temperature {TEMPERATURE:g}, the last class's row stays random",
            distilled,
        ),
        MadeHead(
            "text", "Zero-shot text head", SYNTHESISED,
            f"the ordinary class parts and one random vector; rows have a cosine of about {COSINE}, as CLIP's", text,
        ),
        MadeHead(
            "l1", "L1 decay", "lasso, Tibshirani 1996",
            f"cross-entropy with an L1 penalty of {SPARSE:.0%} of what makes all weights 0", l1,
        ),
        MadeHead(
            "pruned", "Pruned by magnitude", "Han et al., NeurIPS 2015",
            f"the ordinary head's largest {KEPT:.0%} of weights, the others 0", pruned,
        ),
        MadeHead(
            "one-vs-rest", "One against the rest", "Wightman et al. 2021 train ImageNet heads so",
            "binary cross-entropy for each class, then used as a softmax head", one_vs_rest,
        ),
        MadeHead(
            "drifted", "Checkpoints averaged, with drift", f"{SYNTHESISED}; averages as Izmailov et al., UAI 2018",
            f"the ordinary rows plus the mean of {CHECKPOINTS} steps of a random walk common to all classes", drifted,
        ),
    )
}  # fmt: skip
