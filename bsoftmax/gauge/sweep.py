"""A head moved along directions that softmax cannot see: every source and clamp measured at every size.

The features of an image are computed once; a shift changes the softmax head's gradients at F and nothing else. The
records are those of an evaluation (`evaluation.measure`), so that a killed sweep goes on, in any number of processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cams.distortions import Shift
from ..cams.effects import gauge
from ..cams.methods import default, find
from ..cams.view import View
from ..data.limits import Limits
from ..data.loader import decoded
from ..evaluation import fidelity, results
from ..evaluation.aggregate import load
from ..evaluation.column import BASELINE, Column
from ..evaluation.metrics import METRICS
from ..evaluation.plan import EvalRun, Prepared, prepare
from ..evaluation.results import Cell
from ..evaluation.run import measure_all
from ..evaluation.statistics import ROUNDS, average
from ..models import zoo
from ..utils.distributed import Ranks
from ..utils.events import Emit
from ..utils.files import write_text
from .crossing import crossing
from .directions import DEFAULT, DIRECTIONS, SEARCHED, SIZES, Sample, shifts

FORMAT = "bsoftmax-gauge/1"
CROSSED = ("gt_loc", "max_box_acc_v2", "average_drop")  # metrics by which one map overtakes another
OVERTAKING = (("sigmoid", True), ("centred", False), ("log-odds", True), (BASELINE, True))  # the softmax map, unclamped
SHOWN = ("gt_loc", "max_box_acc_v2", "average_drop", "blank", "centred_rank", "pointing")


@dataclass(frozen=True)
class GaugeRun:
    """Options of a sweep. `method`: None for the model's default; the others are those of EvalRun."""

    data: str
    out: Path
    model: str = zoo.DEFAULT
    weights: str = "hub"
    split: str | None = None
    method: str | None = None
    directions: tuple[str, ...] = DEFAULT
    sizes: tuple[float, ...] = SIZES
    metrics: tuple[str, ...] = ("localization", "fidelity")
    protocol: str = "standard"
    limit: int | None = None
    seed: int = 0
    batch: int = 16
    images: Path | None = None
    boxes: Path | None = None
    cache: Path = Path("cache")
    device: str | None = None
    limits: Limits | None = None
    called: str | None = None
    command: tuple[str, ...] = ()
    share: float = 0.2
    rounds: int = ROUNDS

    def evaluation(self, method: str) -> EvalRun:
        """The evaluation of one method that a sweep extends by shifted columns."""
        return EvalRun(
            self.data, self.out, self.model, self.weights, self.split, (method,), protocol=self.protocol,
            metrics=self.metrics, limit=self.limit, seed=self.seed, batch=self.batch, images=self.images,
            boxes=self.boxes, cache=self.cache, device=self.device, limits=self.limits, called=self.called,
            command=self.command, share=self.share, rounds=self.rounds,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A prepared sweep: its evaluation, and the shifts of every vector of every direction."""

    job: Prepared
    method: str
    shifts: dict[str, list[list[Shift]]] = field(default_factory=dict)


def plan(run: GaugeRun, rank: int = 0) -> Plan:
    """Chooses the directions and prepares the measurement. Raises as evaluation.plan.prepare does."""
    method = find(run.method).key if run.method else default(zoo.open_model(run.model, run.weights))
    job = prepare(run.evaluation(method), rank)
    found = shifts(_sample(job, method), run.directions, run.sizes)
    every = tuple(shift for vectors in found.values() for moved in vectors for shift in moved)
    moved = tuple(Column(method, BASELINE, clamp, shift.key) for shift in every for clamp in (False, True))
    unmasked = frozenset(s.key for name, vectors in found.items() if not DIRECTIONS[name].masked
                         for group in vectors for s in group)  # fmt: skip
    evaluation = replace(job.run, columns=(*job.setup.columns, *moved), shifts=every, unmasked=unmasked)
    return Plan(prepare(evaluation, rank), method, found)


def _sample(job: Prepared, method: str) -> Sample:
    """At most SEARCHED images, evenly over the set; those that cannot be read are left out."""
    setup, total = job.setup, job.total
    index = np.unique(np.linspace(0, total - 1, min(SEARCHED, total)).round().astype(int)).tolist()
    side = setup.model.spec.preprocessing.size
    pixels, bad = next(iter(decoded(setup.images, [index], side)))
    good = [b for b, n in enumerate(index) if n not in bad] or [0]
    with torch.inference_mode(False):
        view = View(setup.model, fidelity.normalise(setup.model, pixels[good].float() / 255))
    k = view.logits("softmax").argmax(1)
    return Sample(setup.model, view, k, method, np.random.default_rng(job.run.seed))


def sweep(
    run: GaugeRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None, workers: int | None = 1,
) -> dict[str, Any]:  # fmt: skip
    """Measures and writes gauge.json into `run.out`; returns what it holds (empty on ranks other than the first).

    Raises ValueError or DataError with one sentence, as evaluation does.
    """
    ranks, start = ranks or Ranks.current(), time.monotonic()
    made = plan(run, ranks.rank)
    stopped = measure_all(made.job, emit, stop, ranks, workers)
    if ranks.rank:
        return {}
    found = collect(made, run)
    found |= {"stopped": stopped, "seconds": time.monotonic() - start}
    write_text(run.out / "gauge.json", json.dumps(found, allow_nan=False))
    return found


def collect(made: Plan, run: GaugeRun) -> dict[str, Any]:
    """The points, flat lines and crossings from the records so far. Raises ValueError when no image was measured."""
    job = made.job
    arrays = load(job.read(), job.total)
    if not arrays.names:
        raise ValueError(f"None of the {job.total} images could be measured.")
    entries = {entry.column: entry for entry in job.entries}

    def cells(column: Column) -> dict[str, Cell]:
        return results.cells(arrays, job.read, entries[column], job.setup.rule, run.seed, job.run.rounds)

    still = {(c.source, c.clamp): cells(c) for c in entries if not c.shift}
    lines = {
        (name, clamp): _line(made.method, vectors, clamp, still[BASELINE, clamp], cells)
        for name, vectors in made.shifts.items() if vectors
        for clamp in (False, True)
    }  # fmt: skip
    sizes = sorted({0.0, *run.sizes})
    return {
        "format": FORMAT, **job.header, "notes": [*job.notes, *_missing(made)], "command": list(run.command),
        "n": len(arrays.names), "asked": job.total, "complete": len(arrays.names) + len(arrays.unreadable) == job.total,
        "unreadable": [list(arrays.unreadable[i]) for i in sorted(arrays.unreadable)], "method": made.method,
        "head": {key: value for key, value in gauge(job.setup.model.softmax).items() if key != "per_channel"},
        "sizes": sizes, "directions": {name: DIRECTIONS[name].sentence for name in made.shifts},
        "still": [_point(cell, source=source, clamp=clamp) for (source, clamp), cell in still.items()],
        "points": [
            _point(cell, direction=name, size=size, source=BASELINE, clamp=clamp)
            for (name, clamp), line in lines.items() for size, cell in zip(sizes, line)
        ],
        "crossings": _crossings(sizes, lines, still, job.run.rounds, run.seed), "checks": _checks(job),
    }  # fmt: skip


def _missing(made: Plan) -> list[str]:
    empty = [DIRECTIONS[name].title.lower() for name, vectors in made.shifts.items() if not vectors]
    return [f"The head's rows have no {' and no '.join(empty)} direction: it is left out."] if empty else []


def _line(
    method: str, vectors: Sequence[Sequence[Shift]], clamp: bool, start: dict[str, Cell],
    cells: Callable[[Column], dict[str, Cell]],
) -> list[dict[str, Cell]]:  # fmt: skip
    """The cells at size 0 and at every size, averaged over a direction's vectors."""
    out = [start]
    for group in zip(*vectors):
        found = [cells(Column(method, BASELINE, clamp, shift.key)) for shift in group]
        out.append({name: _average([each[name] for each in found]) for name in found[0]})
    return out


def _average(cells: Sequence[Cell]) -> Cell:
    return Cell(average([cell.estimate for cell in cells]))


def _point(cells: dict[str, Cell], **where: Any) -> dict[str, Any]:
    return {**where, "metrics": {name: cells[name].json() for name in SHOWN if name in cells}}


def _crossings(
    sizes: Sequence[float], lines: dict[tuple[str, bool], list[dict[str, Cell]]],
    still: dict[tuple[str, bool], dict[str, Cell]], rounds: int, seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Where the unclamped softmax map falls behind each map that does not move, by metric and direction."""
    out = []
    for (name, clamp), line in lines.items():
        for kind in OVERTAKING if not clamp else ():
            fixed = lines.get((name, True)) if kind == (BASELINE, True) else [still.get(kind, {})] * len(line)
            for metric in CROSSED:
                if not fixed or not all(metric in a and metric in b for a, b in zip(line, fixed)):
                    continue
                gaps = [a[metric].minus(b[metric]).estimate for a, b in zip(line, fixed)]
                values, ends = np.array([g.value for g in gaps]), np.array([g.interval() for g in gaps])
                drawn = np.stack([g.drawn(rounds, seed) for g in gaps])
                at = crossing(sizes, values, ends, drawn, bool(METRICS[metric].higher_is_better))
                out.append({"direction": name, "metric": metric, "by": list(kind), **at.json()})
    return out


def _checks(job: Prepared) -> dict[str, float]:
    """max |dp|: the largest change of any probability of any image under any shift."""
    return {"max_dp": max((record["dp"] for record in job.read() if "dp" in record), default=0.0)}
