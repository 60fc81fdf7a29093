"""Runs the experiments of the paper's tables and writes the published and the reproduced numbers.

A cell is a data set and a trunk: its model is trained, then measured under every protocol. A cell that cannot be run
has a problem, in one sentence, and the others are run. A killed run resumes from its folder.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..evaluation.run import evaluate
from ..reports import write_tables
from ..training.job import TrainRun
from ..training.run import train
from ..utils import files
from ..utils.distributed import Ranks
from ..utils.events import Emit, Event
from ..utils.text import error_sentence
from . import presets, side_by_side
from .presets import Cell, Reproduction
from .published import TABLES, Corpus

FORMAT = "bsoftmax-reproduction/1"
NOT_YET = "Not run yet: the same command goes on."


class _Stopped(Exception):  # noqa: N818 (not an error)
    """A stop in training, which like a kill leaves states from which it resumes, and no half-trained model."""


class _Runner:
    """A reproduction in progress."""

    def __init__(self, run: Reproduction, emit: Emit, stop: Callable[[], bool], ranks: Ranks) -> None:
        self.run, self.ranks, self.table = run, ranks, TABLES[run.table]
        self.stop = stop if ranks.world == 1 else lambda: False  # several ranks could see it in different cells
        self.emit: Emit = emit if ranks.rank == 0 else lambda event: None
        self.splits: dict[str, tuple[Path, str] | ValueError] = {}
        self.stopped = False

    def check_stop(self) -> bool:
        """Whether to end here."""
        self.stopped = self.stopped or self.stop()
        return self.stopped

    def raise_if_stopped(self) -> bool:
        """Raises _Stopped to end training, else returns False."""
        if self.check_stop():
            raise _Stopped
        return False

    def locate(self, corpus: Corpus) -> tuple[Path, str]:
        """The folder of a data set and the split that is measured; found once."""
        if corpus.key not in self.splits:
            try:
                data = presets.find_data(self.run.root, corpus)
                self.splits[corpus.key] = data, presets.split_of(data, corpus, self.run.cache)
            except ValueError as error:
                self.splits[corpus.key] = error
        if isinstance(found := self.splits[corpus.key], ValueError):
            raise found
        return found

    def cell(self, cell: Cell) -> Iterator[tuple[str, Any]]:
        """Trains and measures a cell; yields ("training", its options), then (protocol, its results)."""
        data, split = self.locate(cell.corpus)
        job = presets.training_options(self.run, cell, data)
        self.raise_if_stopped()
        yield "training", self.train(job, cell)
        for protocol in self.run.protocols_for(self.table):
            forward = functools.partial(self.forward, cell, f"measure, {protocol}")
            options = presets.evaluation_options(self.run, cell, data, split, protocol)
            done = evaluate(
                options, forward, self.stop, ranks=self.ranks, workers=self.run.workers, report=write_tables
            )
            if done:
                yield protocol, json.loads(Path(done["results"]).read_text(encoding="utf-8"))
                self.stopped = self.stopped or done["stopped"]
            self.raise_if_stopped()

    def train(self, job: TrainRun, cell: Cell) -> dict[str, Any]:
        """Trains the model of a cell unless it is in the folder already; returns its options."""
        options, path = presets.model_options(job), job.out.with_suffix(".options.json")
        existing = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if not job.out.is_file():
            if self.ranks.rank == 0:
                files.write_text(path, json.dumps(options))
            train(job, functools.partial(self.forward, cell, "train"), self.raise_if_stopped, self.ranks)
            return options
        if existing not in (None, options):
            raise ValueError(
                f"{job.out.name!r} in {str(job.out.parent)!r} was trained with other options: name another folder with "
                "--out, or delete it."
            )
        return options if existing else {"brought": job.out.name}

    def forward(self, cell: Cell, step: str, event: Event) -> None:
        """Emits an event of training or evaluation with its cell."""
        kind = "did" if event["event"] == "done" else event["event"]
        self.emit({**event, "event": kind, "cell": cell.key, "step": step})


def reproduce(
    run: Reproduction,
    emit: Emit = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Runs every cell of a table and writes out/<table>.md, .csv, .tex and .json; returns the last event, "done".

    A killed or stopped run called again with the same options resumes with the models and records in `out`. A cell that
    cannot be run has its reason under "problems". Raises ValueError for invalid options.
    """
    todo = presets.cells(run)
    work = _Runner(run, emit, stop, ranks or Ranks.current())
    found: dict[str, dict[str, Any]] = {cell.key: {"problem": NOT_YET} for cell in todo}
    for n, cell in enumerate(todo):
        results = found[cell.key]
        work.emit({"event": "cell", "cell": cell.key, "n": n + 1, "of": len(todo)})
        try:
            for name, value in work.cell(cell):
                results[name] = value
            del results["problem"]
        except _Stopped:
            break
        except (ValueError, OSError) as error:
            if work.check_stop():  # before anything was trained
                break
            results["problem"] = error_sentence(error)
            work.emit({"event": "problem", "cell": cell.key, "message": results["problem"]})
    done: dict[str, Any] = {"event": "done", "stopped": work.stopped, "files": [], "rows": []}
    done["problems"] = {key: results["problem"] for key, results in found.items() if "problem" in results}
    if work.ranks.rank == 0:
        table = side_by_side.build_table(work.table, todo, found, run.protocols_for(work.table))
        table = {"format": FORMAT, "options": _options(run), **table}
        done |= {"rows": table["rows"], "files": [str(path) for path in side_by_side.write(table, run.out)]}
    work.emit(done)
    return done


def _options(run: Reproduction) -> dict[str, Any]:
    options = {k: v for k, v in asdict(run).items() if k not in ("root", "out", "cache", "workers", "table")}
    return {k: v for k, v in options.items() if v not in (None, {}, ())}
