"""The loss of the sigmoid branch."""

from __future__ import annotations

import torch.nn.functional as nnf
from torch import Tensor


def balanced_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """L = -1/B sum_n [(1 - 1/C) log s_y + 1/C sum_{k != y} log(1 - s_k)] (Eq. 12): [B,C], [B] -> scalar.

    The same number as binary cross-entropy with positives weighted C-1, averaged over images and classes.
    """
    C = logits.shape[1]
    positives = nnf.one_hot(labels, C).to(logits.dtype)
    return nnf.binary_cross_entropy_with_logits(logits, positives, pos_weight=logits.new_tensor(C - 1.0))
