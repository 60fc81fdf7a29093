"""What two heads answered on a validation set: accuracies, confusion, the images on which they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.loader import batches
from ..data.sets import ImageSet
from ..models.dual_branch import DualBranch
from .vectors import Vectors

BATCH = 1024
CONFUSION_CLASSES = 200  # a table of more classes is left out: it would be larger than all else


@dataclass(frozen=True)
class Answers:
    """What the heads said of n images: class numbers [n], p of softmax's answer, s of the branch's (None without)."""

    labels: Tensor
    softmax: Tensor
    p: Tensor
    sigmoid: Tensor | None
    s: Tensor | None
    found: Tensor | None  # whether the branch's sigmoid of the image's own class is above 0.5


@torch.no_grad()
def answers(model: DualBranch, val: Vectors) -> Answers:
    """Asks both heads about every readable image of a set, a batch at a time."""
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
    return Answers(labels, k, p, *(branch or (None, None, None)))


def metrics(found: Answers) -> dict[str, Any]:
    """Top-1 in percent of both heads; `sigmoid_recalled`: the share of images with s_y > 0.5, mean over classes."""
    out: dict[str, Any] = {"images": len(found.labels), "softmax_top1": _share(found.softmax == found.labels)}
    if found.sigmoid is None or found.found is None:
        return {**out, "sigmoid_top1": None, "sigmoid_recalled": None}
    each = [_share(found.found[found.labels == k]) for k in found.labels.unique()]
    return {**out, "sigmoid_top1": _share(found.sigmoid == found.labels), "sigmoid_recalled": sum(each) / len(each)}


def _share(hits: Tensor) -> float:
    return 100 * hits.double().mean().item()


def confusion(labels: Tensor, said: Tensor, classes: int) -> list[list[int]]:
    """How often images of each class (rows) were called each class (columns)."""
    return torch.bincount(labels * classes + said, minlength=classes**2).view(classes, classes).tolist()


def report(model: DualBranch, images: ImageSet, val: Vectors, found: Answers) -> dict[str, Any]:
    """All of it as plain data: classes, every image with both answers, a confusion table for each head."""
    C = len(model.classes)
    columns = [found.labels, found.softmax, found.p]
    columns += [found.sigmoid, found.s] if found.sigmoid is not None else []
    rows = []
    for n, label, k, p, *branch in zip(val.good.tolist(), *(column.tolist() for column in columns)):
        j, s = branch or (None, None)
        said = {"label": label, "softmax": k, "p": p, "sigmoid": j, "s": s}
        rows.append({"name": images.name(n), "path": str(images.paths[n]), **said})
    heads = {"softmax": found.softmax, "sigmoid": found.sigmoid} if C <= CONFUSION_CLASSES else {}
    tables = {head: confusion(found.labels, said, C) for head, said in heads.items() if said is not None}
    return {"classes": list(model.classes), "images": rows, "confusion": tables, "recalled": recalled(found, C)}


def recalled(found: Answers, classes: int) -> dict[str, list[float | None]]:
    """Percent of each class's images that a head finds: softmax's answer is right; the branch's s_y is above 0.5.

    None for a class without images, no list for a branch there is not.
    """
    hits = {"softmax": found.softmax == found.labels, "sigmoid": found.found}
    mine = [found.labels == k for k in range(classes)]
    return {
        head: [_share(right[m]) if m.any() else None for m in mine] for head, right in hits.items() if right is not None
    }
