"""A sigmoid branch for a pretrained classifier, from about a thousand photographs: the gauge, then rows near it.

`models.gauge` has the equation, `training.gauge` the fits; docs/branches.md says what they reach. Not of the paper.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import layouts
from ..data.file_tree import FileTree
from ..data.sets import DataError, ImageSet
from ..images.read import SUFFIXES
from ..models import zoo
from ..models.dual_branch import DualBranch
from ..models.gauge import Gauge
from ..models.losses import balanced_bce
from ..models.model_card import card
from ..utils import files
from ..utils.events import Emit
from ..utils.text import quoted
from . import gauge as fits
from .feature_cache import features
from .fitting import measure, top1
from .loop import Epoch
from .solver import Optimum
from .vectors import Vectors

LABELS = ("auto", "folders", "head")
METHOD = "gauge, then rows pulled back to it (docs/branches.md)"


@dataclass(frozen=True)
class CalibrationRun:
    """Options of a calibration.

    `labels`: "folders" of the model's classes (by name or WordNet ID), "head" for what the softmax head answers, "auto"
    for folders where they are the model's classes. `rank` 0: the gauge alone. `heads`: write no trunk.
    """

    images: str
    out: Path
    cache: Path
    model: str = zoo.DEFAULT
    weights: str = "hub"
    labels: str = "auto"
    views: int = 1
    rank: int = fits.RANK
    heads: bool = False
    command: tuple[str, ...] = ()


def calibrate(
    run: CalibrationRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Fits the branch and writes `out` with its card; returns the last event.

    The numbers it reports are of the photographs it was fitted to. Raises DataError, WeightsError, CheckpointError or
    ValueError with one sentence, Stopped where `stop` returned True before all photographs were seen.
    """
    model, head = _opened(run)
    emit({"event": "stage", "stage": "data", "title": "Reading the photographs"})
    images, named = photographs(run, model)
    emit({"event": "data", "images": len(images), "labels": "folders" if named else "head"})
    emit({"event": "stage", "stage": "features", "title": "Looking at every photograph once"})

    def tick(done: int, total: int) -> None:
        emit({"event": "progress", "stage": "features", "done": done, "total": total})

    seen = features(model, images, run.cache / "features", run.views, tick=tick, stop=stop)
    if not named:
        seen.labels = answers(model, seen)
    emit({"event": "stage", "stage": "branch", "title": "Sigmoid branch, everything else frozen"})
    found, last = Gauge.identity(head), None
    for last in fitted(head, seen, found, run.rank):
        emit({"event": "fit", **dataclasses.asdict(last)})
    model.set_gauge(found)
    made = recipe(images, run.views, run.rank, last, "folders" if named else "head")
    done = _written(run, model, made, {h: judged(model.classifier(h), seen) for h in ("softmax", "sigmoid")})
    done["unreadable"] = [(images.name(n), reason) for n, reason in seen.bad.items()]
    emit(done)
    return done


def _opened(run: CalibrationRun) -> tuple[DualBranch, nn.Linear]:
    """The model and its head. Raises ValueError for options that cannot be followed."""
    if run.labels not in LABELS:
        raise ValueError(f"There are no labels {run.labels!r}; choose one of {', '.join(LABELS)}.")
    if run.views < 1 or run.rank < 0:
        raise ValueError(f"Expected at least 1 view and a rank of at least 0, got {run.views} and {run.rank}.")
    model = zoo.open_model(run.model, run.weights)
    if run.heads and not model.has_public_trunk:
        raise ValueError("Heads alone belong to a bundled or public trunk: save the whole model.")
    return model, fits.linear(model.softmax)


def _written(run: CalibrationRun, model: DualBranch, made: dict[str, Any], fit: dict[str, Any]) -> dict[str, Any]:
    """Writes the model and its card; returns the event that says so."""
    training = {**model.spec.training, "sigmoid": made, "command": list(run.command)}
    model.spec = dataclasses.replace(model.spec, training=training, metrics={**model.spec.metrics, "fit": fit})
    model.save(run.out, heads=run.heads)
    described = files.write_text(run.out.with_suffix(".md"), card(model.spec, model.frozen_hash()))
    return {"event": "done", "checkpoint": str(run.out), "card": str(described), "metrics": model.spec.metrics}


def photographs(run: CalibrationRun, model: DualBranch) -> tuple[ImageSet, bool]:
    """The photographs with the model's labels, and whether folders named them; else every label is 0.

    Raises DataError where there are none, or where folders must name them and do not.
    """
    if run.labels != "head" and (named := _named(run, model)) is not None:
        return named, True
    root = Path(run.images)
    if not root.is_dir():
        raise DataError(f"Expected a folder of photographs, but there is no folder {quoted(run.images)}.")
    paths = [root / name for name in sorted(FileTree(root).walk()) if Path(name).suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(f"There are no photographs in {quoted(run.images)}: expected {', '.join(sorted(SUFFIXES))}.")
    return ImageSet(root, tuple(paths), (0,) * len(paths), model.classes), False


def _named(run: CalibrationRun, model: DualBranch) -> ImageSet | None:
    """The photographs as their folders name them; None where those are not the model's classes and need not be."""
    try:
        splits = layouts.read_data(run.images, run.cache / "data").splits
    except DataError:
        if run.labels == "folders" or not Path(run.images).is_dir():
            raise
        return None
    named = zoo.matched(splits.get("train") or next(iter(splits.values())), model.classes)
    if named is None and run.labels == "folders":
        raise DataError(
            f"Expected folders named as classes of {quoted(run.model)} or by their WordNet IDs: rename them, or take "
            "the head's own answers with --labels head."
        )
    return named


@torch.no_grad()
def answers(model: DualBranch, seen: Vectors) -> Tensor:
    """The class the softmax head answers for every image in view 0, int64 [n]; 0 for unreadable ones."""
    labels = torch.zeros(seen.n, dtype=torch.int64)
    labels[seen.good] = model.softmax(seen.take(seen.good)).argmax(1)
    return labels


def fitted(head: nn.Linear, seen: Vectors, gauge: Gauge, rank: int = fits.RANK) -> Iterator[Optimum]:
    """Fits `gauge` in place: a, d and c, then, for a rank above 0, what all rows gain; yields where the solver is."""
    yield from fits.fit_gauge(head, seen, gauge)
    if rank:
        yield from fits.fit_rows(head, seen, gauge, rank=rank)


def epochs(model: DualBranch, train: Vectors, val: Vectors) -> Iterator[Epoch]:
    """Makes the branch of a model so, as the epochs of a training: the gauge's first, then those of the rows."""
    start, head = time.monotonic(), fits.linear(model.softmax)
    found = Gauge.identity(head)
    for n, optimum in enumerate(fitted(head, train, found)):
        model.set_gauge(found)
        branch = model.classifier("sigmoid")
        measured = measure(branch, val, "sigmoid")
        yield Epoch(n + 1, n + 2, optimum.loss, top1(branch, train), time.monotonic() - start, *measured)
    model.set_gauge(found)  # the rows enter it at the end


@torch.no_grad()
def judged(branch: nn.Module, seen: Vectors) -> dict[str, float]:
    """Top-1, rank of the true class, images whose class is found, classes found, Eq. 12, on view 0; shares in percent.

    A class is found where its logit is above 0, that is, its sigmoid above 0.5.
    """
    h, labels = seen.take(seen.good), seen.labels[seen.good]
    z = branch(h)
    true = z.gather(1, labels[:, None])
    rank, found = (z > true).sum(1) + 1, (z > 0).sum(1)
    return {
        "images": len(labels), "top1": 100 * float((rank == 1).float().mean()), "rank": float(rank.float().mean()),
        "true_found": 100 * float((true > 0).float().mean()), "classes_found": float(found.float().mean()),
        "none_found": 100 * float((found == 0).float().mean()), "eq12": float(balanced_bce(z, labels)),
    }  # fmt: skip


def recipe(images: ImageSet, views: int, rank: int, last: Optimum | None, labels: str = "folders") -> dict[str, Any]:
    """What a card says of a branch made so."""
    described = {"images": len(images), "sha256": images.fingerprint(), "views": views, "labels": labels}
    end = {} if last is None else {"loss": last.loss, "gradient": last.gradient}
    return {
        "method": METHOD, "penalty": fits.PENALTY, "pull": fits.PULL, "rank": rank, "data": {"train": described}, **end
    }  # fmt: skip
