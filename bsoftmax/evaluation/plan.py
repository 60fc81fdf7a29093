"""What an evaluation needs: its options, its preparation on given data, and the measurement of its chunks.

Chunk c has the same images whatever the number of processes, and belongs to process c mod world: every number is equal
to the bit. Records are written chunk by chunk, so that a killed run resumes.
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

from ..cams.distortions import Shift
from ..data import layouts
from ..data.limits import Limits
from ..data.loader import decoded
from ..data.sets import DataError, DataSet, ImageSet
from ..models import zoo
from ..utils.text import quoted
from . import aggregate, localization
from . import protocol as rules
from .aggregate import Entry, Record
from .column import Column, columns
from .measure import GROUPS, Setup, measure_chunk
from .statistics import ROUNDS

SPLIT_ORDER = ("test", "val", "all", "train")  # the first of them there is, where none is named


@dataclass(frozen=True)
class EvalRun:
    """Options of an evaluation; the folder `out` gets records, results and tables.

    `methods` and `sources`: None for all that are not slow and all the model has. `explain`: the class, "predicted" or
    "true"; None for the true one in localisation and the predicted one in fidelity. `metrics`: of GROUPS. `limit`: at
    most so many images, class by class in proportion, drawn with `seed`. `precision`: "float32" or "bfloat16". `share`:
    the validation share by which training splits a set without splits. `called`: the data's name in the results.
    `columns`, `shifts`, `unmasked`: see `Setup`.
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
    columns: tuple[Column, ...] | None = None  # instead of methods x sources x clamps
    shifts: tuple[Shift, ...] = ()
    unmasked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Prepared:
    """An evaluation ready to run; `key` identifies its records."""

    run: EvalRun
    setup: Setup
    header: dict[str, Any]
    notes: tuple[str, ...]
    key: str

    @property
    def total(self) -> int:
        """The number of images."""
        return len(self.setup.images)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every column with its keys in a record."""
        return tuple(self.setup.entry(column) for column in self.setup.columns)

    def read(self) -> Iterator[Record]:
        """The records so far."""
        return aggregate.read(self.run.out, self.key)


def prepare(run: EvalRun, rank: int = 0) -> Prepared:
    """Reads the data, opens the model and decides what can be measured.

    Raises DataError, WeightsError, CheckpointError or ValueError with one sentence.
    """
    _check(run)
    rule, device = localization.protocol(run.protocol), rules.choose_device(run.device, rank)
    dataset = layouts.read_data(run.data, run.cache / "data", run.limits, images=run.images, boxes=run.boxes)
    dataset = _with_train_val(dataset, run)
    split, images = _split(dataset, run)
    model = zoo.open_model(run.model, run.weights)
    chosen = run.columns or columns(model, run.methods, run.sources, run.clamps)
    matched = zoo.matched(images, model.classes)
    explained, notes = _groups(run, images, matched is not None)
    images = subsample(images if matched is None else matched, run.limit, run.seed)
    header = rules.result_header(
        rules.describe_data(run.called or run.data, dataset, split, images), rules.describe_model(run.model, model),
        rules.describe_protocol(rule, explained, run.precision, device.split(":")[0]),
    )  # fmt: skip
    identity = {"stamp": rules.comparable(header), "columns": [c.key for c in chosen], "batch": run.batch}
    identity |= {"shifts": [s.key for s in run.shifts], "unmasked": sorted(run.unmasked)} if run.shifts else {}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]
    model = rules.prepare_model(model, run.precision, device)
    setup = Setup(model, images, matched is not None, chosen, rule, explained, run.batch, run.shifts, run.unmasked)
    return Prepared(run, setup, header, notes, key)


def subsample(images: ImageSet, limit: int | None, seed: int) -> ImageSet:
    """At most `limit` images, every class in proportion, drawn with a seed; sorted by name."""
    order = sorted(range(len(images)), key=images.name)
    if limit is None or limit >= len(order):
        return images.subset(order)
    rng, labels = np.random.default_rng(seed), np.asarray(images.labels)[order]
    rank = np.empty(len(order))  # when an image is drawn, as a share of its class
    for k in np.unique(labels):
        members = np.flatnonzero(labels == k)
        rank[rng.permutation(members)] = (np.arange(len(members)) + rng.random()) / len(members)
    return images.subset([order[n] for n in np.sort(np.argsort(rank, kind="stable")[:limit])])


def _check(run: EvalRun) -> None:
    if unknown := [name for name in run.metrics if name not in GROUPS]:
        raise ValueError(f"There are no metrics {quoted(unknown[0])}; choose among {', '.join(GROUPS)}.")
    if not run.metrics:
        raise ValueError(f"Expected metrics to measure, got none; choose among {', '.join(GROUPS)}.")
    for what, value in (("images at most", run.limit), ("images a batch", run.batch), ("bootstrap rounds", run.rounds)):
        if value is not None and value < 1:
            raise ValueError(f"Expected at least 1 for {what}, got {value}.")
    if run.explain not in (None, "true", "predicted"):
        raise ValueError(f"There is no class {quoted(run.explain)} to explain; choose true or predicted.")
    if run.precision not in rules.PRECISIONS:
        raise ValueError(f"There is no precision {run.precision!r}; choose one of {', '.join(rules.PRECISIONS)}.")


def _with_train_val(dataset: DataSet, run: EvalRun) -> DataSet:
    """The data set split as training splits one without splits, where "train" or "val" is requested."""
    if run.split not in ("train", "val") or list(dataset.splits) != ["all"]:
        return dataset
    train, val, _ = layouts.train_val(dataset, run.share, run.seed)
    return replace(dataset, splits={"train": train, "val": val})


def _split(dataset: DataSet, run: EvalRun) -> tuple[str, ImageSet]:
    splits = dataset.splits
    name = run.split or next((name for name in SPLIT_ORDER if name in splits), next(iter(splits)))
    if name not in splits:
        raise DataError(f"There is no split {quoted(name)} in the data, which has {', '.join(splits)}.")
    if not len(splits[name]):
        raise DataError(f"The split {quoted(name)} has no images: choose another of {', '.join(splits)}.")
    return name, splits[name]


def _groups(run: EvalRun, images: ImageSet, matched: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """The groups of metrics that can be measured with the class each explains, and a sentence for each that cannot."""
    default = {"localization": "true", "fidelity": "predicted", "curves": "predicted"}
    explained, notes = {group: run.explain or default[group] for group in GROUPS if group in run.metrics}, []
    foreign = f"The data's classes are not those of {quoted(run.model)}"
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
def deterministic() -> Iterator[None]:
    """One CPU thread and no TF32: how sums are split among threads changes their last digits. Use processes instead."""
    before = torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_num_threads(before[1])


def measure(
    job: Prepared, rank: int, world: int, on_records: Callable[[list[Record]], None], stop: Callable[[], bool]
) -> bool:
    """Measures this rank's chunks that are not recorded yet, calls `on_records` after each; whether it was stopped."""
    total, size = job.total, job.run.batch
    done = {record["i"] for record in job.read()}
    spans = [range(start, min(start + size, total)) for start in range(0, total, size)][rank::world]
    spans = [span for span in spans if not done.issuperset(span)]
    side = job.setup.model.spec.preprocessing.size
    header = {"key": job.key, "stamp": job.header}
    with deterministic(), aggregate.open_records(job.run.out, rank, header) as file:
        for span, (pixels, bad) in zip(spans, decoded(job.setup.images, spans, side)):
            if stop():
                return True
            records = [r for r in measure_chunk(job.setup, pixels, list(span), bad) if r["i"] not in done]
            aggregate.append(file, records)
            on_records(records)
    return False
