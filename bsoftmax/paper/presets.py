"""The options of each cell of the paper's tables: its data, the training of its model and its evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..data import layouts
from ..data.sets import DataError
from ..evaluation import localization
from ..evaluation.plan import EvalRun
from ..training.job import TrainRun
from ..utils.text import quoted
from . import published
from .published import CORPORA, TABLES, TRUNKS, Corpus, Table, Trunk


@dataclass(frozen=True)
class Reproduction:
    """Options of a reproduction. `backbones`, `datasets` and `protocols`: of the table's; None for all.

    `limit`: images measured at most, every class in proportion; None for all. `epochs` and `views`: of the branch,
    `stage1_epochs`: of the softmax head; None for the recipe's. `trunks`: models in place of the registry's, by name.
    """

    table: str
    root: Path
    out: Path
    cache: Path
    backbones: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    protocols: tuple[str, ...] | None = None
    limit: int | None = None
    epochs: int | None = None
    stage1_epochs: int | None = None
    views: int | None = None
    workers: int = 1
    seed: int = 0
    device: str | None = None
    precision: str = "float32"
    trunks: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    def protocols_for(self, table: Table) -> tuple[str, ...]:
        """The protocols under which a table is measured."""
        return table.protocols if len(table.protocols) == 1 else self.protocols or table.protocols


@dataclass(frozen=True)
class Cell:
    """A data set and a trunk, with the methods that the table has for them."""

    corpus: Corpus
    trunk: Trunk
    methods: tuple[str, ...]

    @property
    def key(self) -> str:
        """The stem of its files' names."""
        return f"{self.corpus.key}-{self.trunk.name}"

    @property
    def kept(self) -> bool:
        """Whether the pretrained classes are kept, so that only the branch is trained."""
        return self.corpus.kept and self.trunk.pretrained


def cells(run: Reproduction) -> tuple[Cell, ...]:
    """The cells of a table. Raises ValueError for unknown names or invalid numbers, DataError without a data folder."""
    table = _check(run)
    found = []
    for corpus in dict.fromkeys(corpus for corpus, _ in table.columns):
        for trunk in TRUNKS:
            methods = [row.method for row in table.rows if published.trunk_of(row.backbone, row.method) is trunk]
            wanted = corpus in (run.datasets or CORPORA) and trunk.backbone in (run.backbones or published.BACKBONES)
            if methods and wanted:
                found.append(Cell(CORPORA[corpus], trunk, tuple(methods)))
    return tuple(found)


def _check(run: Reproduction) -> Table:
    if run.table not in TABLES:
        raise ValueError(f"There is no table {run.table!r}; choose one of {', '.join(TABLES)}.")
    table = TABLES[run.table]
    known: dict[str, tuple[tuple[str, ...] | None, Collection[str]]] = {
        "data set": (run.datasets, dict.fromkeys(corpus for corpus, _ in table.columns)),
        "backbone": (run.backbones, dict.fromkeys(row.backbone for row in table.rows)),
        "protocol": (run.protocols, localization.PROTOCOLS),
    }
    for what, (requested, available) in known.items():
        if unknown := [name for name in requested or () if name not in available]:
            raise ValueError(f"{table.key} has no {what} {unknown[0]!r}; choose among {', '.join(available)}.")
    for what, value in (("epochs", run.epochs), ("stage 1 epochs", run.stage1_epochs), ("views", run.views),
                        ("images", run.limit)):  # fmt: skip
        if value is not None and value < 1:
            raise ValueError(f"Expected at least 1 for {what}, got {value}.")
    if not run.root.is_dir():
        raise DataError(f"There is no folder {quoted(str(run.root))}: name the one in which the data sets lie.")
    return table


def find_data(root: Path, corpus: Corpus) -> Path:
    """The folder of a data set under ROOT. Raises DataError that names the files that are missing."""
    paths = [path for base in (root / "metadata", root) if base.is_dir() for path in sorted(base.iterdir())]
    folders = {path.name.lower(): path for path in paths if path.is_dir()}
    for name in corpus.folders:
        if name.lower() in folders:
            return folders[name.lower()]
    raise DataError(f"{corpus.title} is not in {str(root)!r}: bring {corpus.bring}, and put it there.")


def split_of(data: Path, corpus: Corpus, cache: Path) -> str:
    """The split that is measured. Raises DataError where it or the training split is missing."""
    found = layouts.read_data(data, cache / "data")
    split = next((name for name in corpus.splits if name in found.splits), None)
    if split is None or "train" not in found.splits:
        missing = "to measure" if split is None else "to train on"
        raise DataError(f"{corpus.title} in {quoted(str(data))} has no images {missing}: bring {corpus.bring}.")
    return split


def training_options(run: Reproduction, cell: Cell, data: Path) -> TrainRun:
    """The training of a cell's model: the authors' configuration, on features computed once."""
    changed = {name: value for name in ("epochs", "views") if (value := getattr(run, name))}
    branch = dataclasses.replace(published.RECIPE, seed=run.seed, **changed)
    first = dataclasses.replace(published.STAGE1, seed=run.seed, epochs=run.stage1_epochs or published.STAGE1.epochs)
    return TrainRun(
        str(data), run.out / f"{cell.key}.safetensors", run.cache, run.trunks.get(cell.trunk.name, cell.trunk.name),
        classes="kept" if cell.kept else "own", stage1="finetune", probe=first, branch=branch, seed=run.seed,
        command=run.command,
    )  # fmt: skip


def model_options(job: TrainRun) -> dict[str, Any]:
    """The options by which a trained model is recognised as this run's."""
    first = None if job.classes == "kept" else asdict(job.probe)
    options = {"trunk": job.trunk, "classes": job.classes, "stage1": first, "branch": asdict(job.branch)}
    as_json: dict[str, Any] = json.loads(json.dumps(options))
    return as_json


def evaluation_options(run: Reproduction, cell: Cell, data: Path, split: str, protocol: str) -> EvalRun:
    """The evaluation of a cell under a protocol: softmax unclamped, and the branch clamped."""
    part = "" if run.limit is None else f"-{run.limit}"
    return EvalRun(
        data=str(data), out=run.out / f"{cell.key}-{TABLES[run.table].group}-{protocol}{part}",
        model=str(run.out / f"{cell.key}.safetensors"), split=split, methods=cell.methods, sources=published.SOURCES,
        clamps=(published.CLAMP,), protocol=protocol, metrics=(TABLES[run.table].group,), limit=run.limit,
        seed=run.seed, cache=run.cache, device=run.device, precision=run.precision, called=cell.corpus.title,
        command=run.command,
    )  # fmt: skip
