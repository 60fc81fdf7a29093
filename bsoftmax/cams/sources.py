"""Evidence sources: the scalar scores that maps explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils.text import quoted


def logit(logits: Tensor, k: Tensor) -> Tensor:
    """l_k (Eq. 1): [B,C], [B] -> [B]."""
    return logits.gather(1, k[:, None]).squeeze(1)


def log_odds(logits: Tensor, k: Tensor) -> Tensor:
    """log p_k/(1 - p_k) = l_k - logsumexp_{j != k} l_j, invariant to a shift of all logits: [B,C], [B] -> [B]."""
    others = logits.scatter(1, k[:, None], -torch.inf)
    return logit(logits, k) - others.logsumexp(1)


def centred(logits: Tensor, k: Tensor) -> Tensor:
    """l_k - 1/C sum_j l_j, the logit of the centred rows w_k - 1/C sum_j w_j, invariant as well: [B,C], [B] -> [B]."""
    return logit(logits, k) - logits.mean(1)


@dataclass(frozen=True)
class Source:
    """A column of the comparison: a classifier, and a scalar function of its logits."""

    key: str
    title: str
    subtitle: str
    branch: str  # the classifier: "softmax" (frozen) or "sigmoid" (trained)
    score: Callable[[Tensor, Tensor], Tensor]
    clamp: bool  # whether the paper clamps alpha to positive values
    answer: str  # name of the values shown with its map
    score_name: str = "logit"
    linear: bool = True  # whether the score is linear in the logits
    invariant: bool = False  # whether a shift common to all classes leaves the score as it is


SOURCES: dict[str, Source] = {
    source.key: source
    for source in (
        Source(
            "softmax", "Softmax head", "logit of the frozen classifier", "softmax", logit, False, "softmax probability"
        ),
        Source("sigmoid", "Sigmoid branch", "logit of the trained branch", "sigmoid", logit, True, "sigmoid score"),
        Source(
            "log-odds",
            "Log-odds",
            "log p/(1\N{MINUS SIGN}p) of the frozen classifier",
            "softmax",
            log_odds,
            False,
            "log-odds",
            "log-odds",
            linear=False,
            invariant=True,
        ),
        Source(
            "centred",
            "Centred rows",
            "logit minus its mean over classes, of the frozen classifier",
            "softmax",
            centred,
            False,
            "centred logit",
            "centred logit",
            invariant=True,
        ),
    )
}


def find(key: str) -> Source:
    """The entry of SOURCES. Raises ValueError, with the known keys, for an unknown one."""
    if key not in SOURCES:
        raise ValueError(f"There is no evidence source {quoted(key)}; choose one of {', '.join(SOURCES)}.")
    return SOURCES[key]
