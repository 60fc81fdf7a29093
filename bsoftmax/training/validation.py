"""Both heads on a validation set: accuracies, confusion, the images on which they differ, and views for their maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..cams.view import View
from ..data.loader import batches, decoded
from ..data.sets import ImageSet
from ..models.dual_branch import DualBranch
from .vectors import Vectors

BATCH = 1024
CONFUSION_CLASSES = 200  # a confusion matrix of more classes would be larger than the rest of the report


@dataclass(frozen=True)
class Predictions:
    """Predictions for n images: class numbers [n], p of softmax's class, s of the branch's; None without a branch."""

    labels: Tensor
    softmax: Tensor
    p: Tensor
    sigmoid: Tensor | None
    s: Tensor | None
    recalled: Tensor | None  # whether the branch's sigmoid of the image's own class is above 0.5


@torch.no_grad()
def predict(model: DualBranch, val: Vectors) -> Predictions:
    """Both heads' predictions for every readable image of a set, a batch at a time."""
    rows: list[tuple[Tensor, ...]] = []
    for span in batches(len(val.good), BATCH):
        index = val.good[span]
        h, labels = val.take(index).to(model.device), val.labels[index]
        p, k = (t.cpu() for t in model.softmax(h).softmax(1).max(1))
        row = [labels, k, p]
        if model.sigmoid is not None:
            s = model.sigmoid(h).sigmoid().cpu()
            best, j = s.max(1)
            row += [j, best, s.gather(1, labels[:, None]).squeeze(1) > 0.5]
        rows.append(tuple(row))
    labels, k, p, *branch = (torch.cat(column) for column in zip(*rows))
    return Predictions(labels, k, p, *(branch or (None, None, None)))


def metrics(found: Predictions) -> dict[str, Any]:
    """Top-1 in percent of both heads; `sigmoid_recalled`: the share of images with s_y > 0.5, mean over classes."""
    out: dict[str, Any] = {"images": len(found.labels), "softmax_top1": _share(found.softmax == found.labels)}
    if found.sigmoid is None or found.recalled is None:
        return {**out, "sigmoid_top1": None, "sigmoid_recalled": None}
    classes = [_share(found.recalled[found.labels == k]) for k in sorted(set(found.labels.tolist()))]
    top1, recalled = _share(found.sigmoid == found.labels), sum(classes) / len(classes)
    return {**out, "sigmoid_top1": top1, "sigmoid_recalled": recalled}


def evenly(index: Tensor, count: int) -> Tensor:
    """At most `count` of the numbers, evenly over them, first and last included."""
    return index[torch.linspace(0, len(index) - 1, min(count, len(index))).round().long()]


def views(model: DualBranch, images: ImageSet, index: Tensor) -> Iterator[View]:
    """A view of each of these images, one after the other; unreadable ones are left out."""
    for pixels, bad in decoded(images, [[n] for n in index.tolist()], model.spec.preprocessing.size):
        if not bad:
            yield View(model, model.normalise(pixels))


def _share(hits: Tensor) -> float:
    return 100 * hits.double().mean().item()


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> list[list[int]]:
    """The number of images of each class (rows) predicted as each class (columns)."""
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2)
    return [row.tolist() for row in counts.view(classes, classes)]


def report(model: DualBranch, images: ImageSet, val: Vectors, found: Predictions) -> dict[str, Any]:
    """Plain data: classes, every image with both predictions, a confusion matrix for each head, recall by class."""
    C = len(model.classes)
    columns = [found.labels, found.softmax, found.p]
    columns += [found.sigmoid, found.s] if found.sigmoid is not None and found.s is not None else []
    rows = []
    for n, label, k, p, *branch in zip(val.good.tolist(), *(column.tolist() for column in columns)):
        j, s = branch or (None, None)
        image = {"name": images.name(n), "path": str(images.paths[n])}
        rows.append({**image, "label": label, "softmax": k, "p": p, "sigmoid": j, "s": s})
    heads = {"softmax": found.softmax, "sigmoid": found.sigmoid} if C <= CONFUSION_CLASSES else {}
    tables = {head: confusion(found.labels, k, C) for head, k in heads.items() if k is not None}
    return {"classes": list(model.classes), "images": rows, "confusion": tables, "recalled": recalled(found, C)}


def recalled(found: Predictions, classes: int) -> dict[str, list[float | None]]:
    """Percent of each class's images that a head recalls: softmax by its largest logit, the branch by s_y > 0.5.

    None for a class without images.
    """
    hits = {"softmax": found.softmax == found.labels, "sigmoid": found.recalled}
    members = [found.labels == k for k in range(classes)]
    return {
        head: [_share(right[m]) if m.any() else None for m in members]
        for head, right in hits.items()
        if right is not None
    }
