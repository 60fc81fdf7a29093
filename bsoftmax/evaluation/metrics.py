"""The registry of metrics, and the metrics of a data set as functions of sums over its images.

A metric is the "mean" of one number an image, or a function of summed rows: "hits" (of `score_boxes`) or "pixels" (of
`pixel_counts`). Sums may have leading axes, e.g. one entry a bootstrap round.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..images import render
from ..utils.text import quoted
from .localization import EDGES, LEVELS, Protocol, at_thresholds


def sparsity(S: np.ndarray | Tensor) -> float:
    """(sqrt(n) - |M|_1/|M|_2)/(sqrt(n) - 1) of M = ReLU(S), n positions (Hoyer 2004): 0 constant, 1 at one position.

    0 for a blank map.
    """
    M = torch.as_tensor(render.rectify(S)).cpu().double().flatten()
    norm, root = float(M.norm()), M.numel() ** 0.5
    return min(1.0, max(0.0, (root - float(M.sum()) / norm) / (root - 1))) if norm and root > 1 else 0.0


def negative(S: np.ndarray | Tensor) -> float:
    """Percent of positions of a signed map [P,Q] that are below 0."""
    return 100 * float((torch.as_tensor(S) < 0).float().mean())


def blank(S: np.ndarray | Tensor) -> float:
    """100 where nothing of a signed map [P,Q] is above 0, the sign collapse of Sec. 3.2; else 0."""
    return 100.0 * render.is_blank(S)


@dataclass(frozen=True)
class Metric:
    """An entry of the registry."""

    key: str
    title: str
    unit: str
    higher_is_better: bool | None  # None: neither
    low: float
    high: float
    needs: str  # "none", "boxes", "masks", or "places": either of them
    paper: str
    how: str = "mean"  # "mean", "hits" or "pixels"
    of_map: Callable[[Any], float] | None = None  # its number of one signed map [P,Q], where that is all it needs
    scored: bool = False  # whether it depends on a classifier's confidence: then measured for both scorings

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of its scale."""
        return self.low, self.high

    def names(self) -> tuple[str, ...]:
        """Its key and, if it is scored, the key of its values by the source's own confidence."""
        return (self.key, f"{self.key}.own") if self.scored else (self.key,)


_WSOL, _CAMPP, _ADCC = "Choe et al., CVPR 2020", "Chattopadhay et al., WACV 2018", "Poppi et al., CVPRW 2021"
_SPEARMAN = "Spearman 1904; measured by `bsoftmax gauge`"
_RISE, _OURS = "Petsiuk et al., BMVC 2018", "Oh and Noh, BMVC 2025"
METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("average_drop", "Average Drop", "%", False, 0, 100, "none", _CAMPP, scored=True),
        Metric("increase", "Increase in Confidence", "%", True, 0, 100, "none", _CAMPP, scored=True),
        Metric("average_gain", "Average Gain", "%", True, 0, 100, "none", "Zhang et al., Opti-CAM, 2024", scored=True),
        Metric("coherency", "Coherency", "%", True, 0, 100, "none", _ADCC),
        Metric("complexity", "Complexity", "%", False, 0, 100, "none", _ADCC),
        Metric("adcc", "ADCC", "%", True, 0, 100, "none", _ADCC, scored=True),
        Metric("deletion", "Deletion", "%", False, 0, 100, "none", _RISE, scored=True),
        Metric("insertion", "Insertion", "%", True, 0, 100, "none", _RISE, scored=True),
        Metric("top1_cls", "Top-1 Cls", "%", True, 0, 100, "none", _WSOL),
        Metric("top1_loc", "Top-1 Loc", "%", True, 0, 100, "boxes", "Zhou et al., CVPR 2016"),
        Metric("gt_loc", "GT-known Loc", "%", True, 0, 100, "boxes", _WSOL),
        Metric("max_box_acc", "MaxBoxAcc", "%", True, 0, 100, "boxes", _WSOL, "hits"),
        Metric("max_box_acc_v2", "MaxBoxAccV2", "%", True, 0, 100, "boxes", "Choe et al., TPAMI 2022", "hits"),
        Metric("px_ap", "PxAP", "%", True, 0, 100, "masks", _WSOL, "pixels"),
        Metric("pointing", "Pointing game", "%", True, 0, 100, "places", "Zhang et al., ECCV 2016"),
        Metric("sparsity", "Sparsity", "", None, 0, 1, "none", "Hoyer, JMLR 2004", of_map=sparsity),
        Metric("negative", "Negative positions", "%", None, 0, 100, "none", _OURS, of_map=negative),
        Metric("blank", "Blank maps", "%", False, 0, 100, "none", _OURS, of_map=blank),
        Metric("centred_rank", "Rank correlation with the centred map", "", None, -1, 1, "none", _SPEARMAN),
    )
}


def names() -> list[str]:
    """The keys of all numbers, in the order of the registry."""
    return [name for metric in METRICS.values() for name in metric.names()]


def map_numbers(S: np.ndarray | Tensor) -> dict[str, float]:
    """Every metric that needs nothing but the signed map [P,Q]. Raises ValueError for NaN or infinity."""
    return {metric.key: metric.of_map(S) for metric in METRICS.values() if metric.of_map}


def find(key: str) -> Metric:
    """The metric of a key or of its ".own" variant. Raises ValueError, naming the known ones, for others."""
    for metric in METRICS.values():
        if key in metric.names():
            return metric
    raise ValueError(f"There is no metric {quoted(key)}; choose one of {', '.join(METRICS)}.")


def box_accuracy(hits: np.ndarray, n: int) -> np.ndarray:
    """Percent of n images whose box above each level is a hit: sums of hits [...,4,256] -> float64, same shape.

    The level v stands for every tau with int(255 tau) = v.
    """
    return 100 * np.asarray(hits, dtype=np.float64) / n


def _best(hits: np.ndarray, n: int, rule: Protocol) -> np.ndarray:
    best: np.ndarray = box_accuracy(hits, n)[..., np.unique(at_thresholds(LEVELS - 1, rule))].max(-1)
    return best


def max_box_acc(hits: np.ndarray, n: int, rule: Protocol) -> np.ndarray:
    """max over tau of the accuracy of the largest contour's box at IoU .5 (Choe et al. 2020): [...,4,256] -> [...]."""
    accuracy: np.ndarray = _best(hits, n, rule)[..., 0]
    return accuracy


def max_box_acc_v2(hits: np.ndarray, n: int, rule: Protocol) -> np.ndarray:
    """Mean over IoU .3, .5, .7 of max over tau of the accuracy of any contour's box: [...,4,256] -> [...]."""
    accuracy: np.ndarray = _best(hits, n, rule)[..., 1:].mean(-1)
    return accuracy


def precision_recall(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of pixels scored at least EDGES[i], highest i first: [...,2,1002] -> [...,1002] each.

    Precision is 0 where no pixel has such a score, recall where no pixel is of an object (in a bootstrap round). Raises
    ValueError when none is in any.
    """
    positive, total = (
        np.asarray(c, dtype=np.float64)[..., ::-1].cumsum(-1) for c in (counts[..., 0, :], counts.sum(-2))
    )
    if not (positive[..., -1] > 0).any():
        raise ValueError("PxAP needs pixels of objects, found none: check the masks.")
    return positive / np.maximum(total, 1), positive / np.maximum(positive[..., -1:], 1)


def px_ap(counts: np.ndarray) -> np.ndarray:
    """100 sum_i precision_i (recall_i - recall_i-1), the pixel average precision: [...,2,1002] -> [...].

    Pixels are pooled over images, so that large objects weigh more (Choe et al. 2020). Raises ValueError when no pixel
    is of an object.
    """
    precision, recall = precision_recall(counts)
    area: np.ndarray = (precision[..., 1:] * np.diff(recall)).sum(-1)
    return 100 * area


def pack_hits(hits: np.ndarray) -> str:
    """Hits bool [4,256] as 256 hexadecimal digits, for a line of JSON."""
    return np.packbits(hits).tobytes().hex()


def unpack_hits(text: str) -> np.ndarray:
    """The inverse of `pack_hits`: bool [4,256]."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8)).astype(bool).reshape(-1, LEVELS)


def pack_counts(counts: np.ndarray) -> str:
    """Counts [2,1002] of one image, each below 2^32, compressed to text."""
    return base64.b64encode(zlib.compress(counts.astype("<u4").tobytes())).decode()


def unpack_counts(text: str) -> np.ndarray:
    """The inverse of `pack_counts`: int64 [2,1002]."""
    counts = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u4")
    return counts.astype(np.int64).reshape(2, len(EDGES) - 1)
