"""What restores the maps of a head that is off centre: the branch, the clamp, log-odds or centred rows.

A head is put beside a trunk, gets the branch that Eq. 12 makes of it on the photographs the head was trained with, and
is measured by the same steps as `bsoftmax evaluate`: maps of the true class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..cams.effects import gauge
from ..evaluation import metrics
from ..evaluation.aggregate import Record, load
from ..evaluation.column import Column, verdict
from ..evaluation.plan import EvalRun, Prepared, measure, prepare
from ..evaluation.results import Cell, cells
from ..models import checkpoints
from ..models.dual_branch import DualBranch
from ..models.gauge import Gauge
from ..reports import text
from ..training.feature_cache import Stopped
from ..training.gauge import fit_gauge
from ..training.solver import Optimiser
from ..training.vectors import Vectors
from ..utils.events import Emit

MEASURED = ("gt_loc", "max_box_acc_v2", "blank", "top1_cls")
Numbers = dict[str, Any]
Kept = dict[str, tuple[Tensor, Tensor | None]]  # F and tokens by the hash of the trunk's input


def gauge_branch(head: nn.Linear, train: Vectors) -> nn.Linear:
    """a W + 1 d^T, a b + c 1 with the a, d and c that minimise Eq. 12: the shift that a sigmoid prefers."""
    found = Gauge.identity(head)
    for _ in fit_gauge(head, train, found):
        pass
    return found.applied(head)


def trained_branch(head: nn.Linear, train: Vectors) -> nn.Linear:
    """All rows at the optimum of Eq. 12, as `bsoftmax train` has them; of the head it takes only the shape."""
    branch = nn.Linear(head.in_features, head.out_features)
    for _ in Optimiser(branch, train, "sigmoid", None, 0)(lambda: False):
        pass
    return branch


BRANCHES: dict[str, Callable[[nn.Linear, Vectors], nn.Linear]] = {"gauge": gauge_branch, "trained": trained_branch}


@dataclass(frozen=True)
class Repair:
    """A head's columns by (source, clamp), each with its cells, and the head's gauge."""

    columns: dict[Column, dict[str, Cell]]
    gauge: Numbers
    n: int

    def json(self) -> Numbers:
        """Values with 95 % intervals, and the paired differences from the centred rows, unclamped."""
        found = []
        for c, of in self.columns.items():
            centred = Column(c.method, "centred", False)
            base = self.columns.get(centred, {}) if c != centred else {}
            values = {name: of[name].json() for name in MEASURED if name in of}
            minus = {name: of[name].minus(base[name]).json() for name in values if name in base}
            found.append({**dataclasses.asdict(c), "metrics": values, "difference": minus})
        return {"n": self.n, "gauge": self.gauge, "columns": found}


def with_head(trunk: DualBranch, head: nn.Linear, classes: tuple[str, ...], branch: nn.Linear) -> DualBranch:
    """The trunk with this softmax head and this branch. Raises ValueError where they do not fit the classes."""
    model = trunk.for_classes(classes)
    try:
        model.softmax.load_state_dict(head.state_dict())
        model.add_branch("clone").load_state_dict(branch.state_dict())
    except RuntimeError as error:
        raise ValueError(f"The head does not fit {len(classes)} classes: {checkpoints.mismatch(error)}.") from None
    return model.requires_grad_(False)


class KeptTrunk(nn.Module):
    """A trunk that looks up in `kept` what it has computed, so that it runs once for all heads measured on it."""

    def __init__(self, trunk: nn.Module, kept: Kept) -> None:
        super().__init__()
        self.trunk, self.kept = trunk, kept

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        key = checkpoints.tensor_hash({"x": x})
        if key not in self.kept:
            self.kept[key] = self.trunk(x)
        return self.kept[key]


def repair(
    model: DualBranch, run: EvalRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False,
    kept: Kept | None = None,
) -> Repair:  # fmt: skip
    """Localisation by maps of the true class, every source, clamped and not, on the data of `run`; it resumes.

    `run.methods`: CAM without any. The model is written into a folder of `run.out` named by its hashes. `kept`: a dict
    for the features of all photographs (a megabyte each), which heads on the same trunk then share.
    Raises as `plan.prepare` does, and Stopped when `stop` returned True.
    """
    branch = checkpoints.tensor_hash(model.classifier("sigmoid").state_dict())
    out = run.out / f"{model.frozen_hash()[:12]}-{branch[:12]}"
    out.mkdir(parents=True, exist_ok=True)
    path = out / "model.safetensors"
    if not path.exists():  # the same tensors make another file each time, and records belong to one file
        model.save(path, heads=model.has_public_trunk)
    job = prepare(dataclasses.replace(run, out=out, model=str(path), methods=run.methods or ("cam",),
                                      metrics=("localization",)))  # fmt: skip
    if kept is not None:
        job.setup.model.trunk = KeptTrunk(job.setup.model.trunk, kept)
    done = sum(1 for _ in job.read())

    def told(records: list[Record]) -> None:
        nonlocal done
        done += len(records)
        emit({"event": "progress", "stage": "photographs", "done": done, "total": job.total})

    if measure(job, 0, 1, told, stop):
        raise Stopped
    return collected(job, gauge(model.softmax))


def collected(job: Prepared, found: Numbers) -> Repair:
    """The cells of every column, from the records."""
    arrays = load(job.read(), job.total)
    by_map = {(e.map_key, e.scaled_key): e for e in job.entries}
    made = {key: cells(arrays, job.read, e, job.setup.rule, job.run.seed, job.run.rounds) for key, e in by_map.items()}
    columns = {e.column: made[e.map_key, e.scaled_key] for e in job.entries}
    return Repair(columns, {name: found[name] for name in ("share", "mean_norm", "row_norm")}, len(arrays.names))


def markdown(found: Mapping[str, Numbers], name: str, titles: Mapping[str, str], method: str = "cam") -> str:
    """One metric: a row a head, a column a source and clamp, arrows where it differs from centred and unclamped."""
    columns = [c for one in found.values() for c in one["columns"] if c["method"] == method]
    kinds = list(dict.fromkeys((c["source"], c["clamp"]) for c in columns))
    rows = []
    for key, one in found.items():
        by_kind = {(c["source"], c["clamp"]): c for c in one["columns"] if c["method"] == method}
        rows.append([titles.get(key, key), *(_cell(by_kind.get(kind), name) for kind in kinds)])
    heads = [f"{source}{', clamped' if clamp else ''}" for source, clamp in kinds]
    return text.rows_markdown([text.title(name), *heads], rows)


def _cell(column: Numbers | None, name: str) -> str:
    if column is None or name not in column["metrics"]:
        return ""
    cell, minus, higher = column["metrics"][name], column["difference"].get(name), metrics.find(name).higher_is_better
    mark = {"better": " ↑", "worse": " ↓"}.get(verdict(minus, bool(higher)), "") if minus else ""
    return f"{cell['value']:.1f} [{cell['low']:.1f}, {cell['high']:.1f}]{mark}"


def top1(head: nn.Linear, vectors: Vectors) -> float:
    """Percent of the readable photographs whose class has the largest logit."""
    with torch.no_grad():
        right = head(vectors.take(vectors.good)).argmax(1) == vectors.labels[vectors.good]
    return 100 * float(right.float().mean())
