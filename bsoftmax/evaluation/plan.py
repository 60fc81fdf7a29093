"""What an evaluation is made of: its options, what they come to on given data, and the measuring of it in chunks.

Chunk c, always of the same images, belongs to process c mod world: whatever the number of processes, every image is
computed in the same company and its numbers are the same to the bit. Records are written chunk by chunk, so that a
killed run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import layouts
from ..data.limits import Limits
from ..data.loader import decoded
from ..data.sets import DataError, DataSet, ImageSet
from ..models import zoo
from ..utils.text import brief
from . import aggregate, localization
from . import protocol as rules
from .aggregate import Entry
from .column import columns, representative
from .measure import GROUPS, Bench, chunk
from .statistics import ROUNDS

ORDER = ("test", "val", "all", "train")  # the split that is taken where none is named


@dataclass(frozen=True)
class EvalRun:
    """What is measured on what, and where it goes: a folder that gets records, results and tables.

    `methods` and `sources`: None for all quick ones and all the model has. `explain`: the class, "predicted" or "true";
    None for the true one where places are scored and the predicted one where confidence is. `metrics`: of GROUPS.
    `limit`: at most so many images, drawn class by class with `seed`. `precision`: "float32" or "bfloat16". `share`: of
    a set that names no splits, "train" and "val" are what a training with this share and seed draws.
    """

    data: str
    out: Path
    model: str = zoo.DEFAULT
    weights: str = "hub"
    split: str | None = None
    methods: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    clamps: tuple[str, ...] = ("off", "on")
    protocol: str = "standard"
    explain: str | None = None
    metrics: tuple[str, ...] = ("localization", "fidelity")
    limit: int | None = None
    seed: int = 0
    batch: int = 16
    images: Path | None = None
    boxes: Path | None = None
    cache: Path = Path("cache")
    precision: str = "float32"
    device: str | None = None
    rounds: int = ROUNDS
    limits: Limits | None = None
    called: str | None = None
    command: tuple[str, ...] = ()
    share: float = 0.2


@dataclass(frozen=True)
class Prepared:
    """An evaluation ready to run: what is measured, what is said about it, what its records are known by."""

    run: EvalRun
    bench: Bench
    stamp: dict[str, Any]
    notes: tuple[str, ...]
    key: str

    @property
    def total(self) -> int:
        """How many images are asked for."""
        return len(self.bench.images)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every column and where its numbers stand in a record."""
        return tuple(Entry(c, representative(self.bench.model, c).key, self.bench.place(c)) for c in self.bench.columns)

    def read(self) -> Iterator[dict[str, Any]]:
        """The records there are."""
        return aggregate.read(self.run.out, self.key)


def prepare(run: EvalRun, rank: int = 0) -> Prepared:
    """Reads the data, opens the model and settles what can be measured.

    Raises DataError, WeightsError, CheckpointError or ValueError with one sentence.
    """
    _check(run)
    rule, device = localization.protocol(run.protocol), rules.device_of(run.device, rank)
    found = layouts.read_data(run.data, run.cache / "data", run.limits, images=run.images, boxes=run.boxes)
    found = _divided(found, run)
    split, images = _split(found, run)
    model = zoo.open_model(run.model, run.weights)
    chosen = columns(model, run.methods, run.sources, run.clamps)
    matched = zoo.matched(images, model.classes)
    explained, notes = _groups(run, images, matched is not None)
    taken = sampled(images if matched is None else matched, run.limit, run.seed)
    stamp = rules.stamp(
        rules.of_data(run.called or run.data, found, split, taken), rules.of_model(run.model, model),
        rules.of_rules(rule, explained, run.precision, device.split(":")[0]),
    )  # fmt: skip
    said = {"stamp": rules.lasting(stamp), "columns": [c.key for c in chosen], "batch": run.batch}
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:20]
    model = rules.ready(model, run.precision, device)
    bench = Bench(model, taken, matched is not None, chosen, rule, explained, run.batch)
    return Prepared(run, bench, stamp, notes, key)


def sampled(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """At most `limit` images, every class in proportion, drawn with a seed; all are sorted by name."""
    order = sorted(range(len(images)), key=images.name)
    if limit is None or limit >= len(order):
        return images.subset(order)
    rng, labels = np.random.default_rng(seed), np.asarray(images.labels)[order]
    turn = np.empty(len(order))  # how far through its class an image is drawn
    for k in np.unique(labels):
        mine = np.flatnonzero(labels == k)
        turn[rng.permutation(mine)] = (np.arange(len(mine)) + rng.random()) / len(mine)
    return images.subset([order[n] for n in np.sort(np.argsort(turn, kind="stable")[:limit])])


def _check(run: EvalRun) -> None:
    if unknown := [name for name in run.metrics if name not in GROUPS]:
        raise ValueError(f"There are no metrics {unknown[0]!r}; choose among {', '.join(GROUPS)}.")
    if not run.metrics:
        raise ValueError(f"Expected metrics to measure, got none; choose among {', '.join(GROUPS)}.")
    for what, value in (("images at most", run.limit), ("images a batch", run.batch), ("bootstrap rounds", run.rounds)):
        if value is not None and value < 1:
            raise ValueError(f"Expected at least 1 for {what}, got {value}.")
    if run.explain not in (None, "true", "predicted"):
        raise ValueError(f"There is no class {run.explain!r} to explain; choose true or predicted.")
    if run.precision not in rules.PRECISIONS:
        raise ValueError(f"There is no precision {run.precision!r}; choose one of {', '.join(rules.PRECISIONS)}.")


def _divided(found: DataSet, run: EvalRun) -> DataSet:
    """With train and val apart, as a training divides a set that names none, where one of them is asked for."""
    if run.split not in ("train", "val") or list(found.splits) != ["all"]:
        return found
    train, val, _ = layouts.train_val(found, run.share, run.seed)
    return replace(found, splits={"train": train, "val": val})


def _split(found: DataSet, run: EvalRun) -> tuple[str, ImageSet]:
    name = run.split or next((name for name in ORDER if name in found.splits), next(iter(found.splits)))
    if name not in found.splits:
        raise DataError(f"There is no split {brief(name)} in the data, which has {', '.join(found.splits)}.")
    if not len(found.splits[name]):
        raise DataError(f"The split {brief(name)} has no images: choose another of {', '.join(found.splits)}.")
    return name, found.splits[name]


def _groups(run: EvalRun, images: ImageSet, matched: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """What can be measured here and which class each explains, and a sentence for whatever is left out."""
    usual = {"localization": "true", "fidelity": "predicted", "curves": "predicted"}
    explained, notes = {group: run.explain or usual[group] for group in GROUPS if group in run.metrics}, []
    foreign = f"The data's classes are not those of {brief(run.model)}"
    if "localization" in explained and not any(t.boxes or t.masks for t in images.annotations):
        notes.append("The data has no boxes and no masks, so that localisation is left out.")
        del explained["localization"]
    elif explained.get("localization") == "true" and not matched:
        notes.append(f"{foreign}, so that localisation, which explains the true class, is left out.")
        del explained["localization"]
    if not explained:
        raise DataError(f"{notes[0][:-1]}, and nothing else was asked for: name other --metrics or other data.")
    if not matched and "true" in explained.values():
        raise DataError(
            f"{foreign}, so that the true ones cannot be explained: name them alike, or leave --explain out."
        )
    if not matched:
        notes.append(f"{foreign}: those predicted are explained, and accuracy is not measured.")
    return explained, tuple(notes)


@contextmanager
def exact() -> Iterator[None]:
    """Inside, numbers depend on nothing but what is computed: CPUs take one thread, GPUs no short floats.

    How sums are split among threads moves the last digits; cores are used by several processes instead.
    """
    before = torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_num_threads(before[1])


def measure(
    work: Prepared, rank: int, world: int, note: Callable[[list[dict[str, Any]]], None], stop: Callable[[], bool]
) -> bool:
    """Measures this process's chunks that are not recorded yet and tells `note` of each; whether it was stopped."""
    total, size = work.total, work.run.batch
    done = {record["i"] for record in work.read()}
    spans = [range(a, min(a + size, total)) for a in range(0, total, size)][rank::world]
    spans = [span for span in spans if not done.issuperset(span)]
    side = work.bench.model.spec.preprocessing.size
    with exact(), aggregate.write_head(work.run.out, rank, {"key": work.key, "stamp": work.stamp}) as file:
        for span, (pixels, bad) in zip(spans, decoded(work.bench.images, spans, side)):
            if stop():
                return True
            made = [r for r in chunk(work.bench, pixels, list(span), bad) if r["i"] not in done]
            aggregate.append(file, made)
            note(made)
    return False
