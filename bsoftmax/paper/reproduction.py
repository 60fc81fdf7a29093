"""What the paper ran, run again: its data sets, backbones, methods and recipe, and its numbers beside those found.

A cell is a data set under a trunk: a model is trained for it and measured under every protocol. What cannot be run says
what to bring; the rest goes on. Everything lies in one folder, from which a killed run continues.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..evaluation.run import evaluate
from ..training.job import TrainRun
from ..training.run import train
from ..utils import files
from ..utils.distributed import Ranks
from ..utils.events import Emit
from . import side_by_side
from .presets import Cell, Reproduction, cells, described, find_data, measuring, split_of, training
from .published import TABLES, Corpus

FORMAT = "bsoftmax-reproduction/1"
NOT_YET = "Not run yet: the same command goes on."


class _Asked(Exception):  # noqa: N818 (nothing went wrong)
    """A stop in training is like a kill: states on disk are kept, nothing is passed off as trained."""


class _Under:
    """A reproduction under way."""

    def __init__(self, run: Reproduction, emit: Emit, stop: Callable[[], bool], ranks: Ranks) -> None:
        self.run, self.ranks, self.table = run, ranks, TABLES[run.table]
        self.stop = stop if ranks.world == 1 else lambda: False  # several would not all hear of it in the same cell
        self.emit: Emit = emit if ranks.rank == 0 else lambda event: None
        self.splits: dict[str, tuple[Path, str] | ValueError] = {}
        self.stopped = False

    def halted(self) -> bool:
        """Whether to end here."""
        self.stopped = self.stopped or self.stop()
        return self.stopped

    def asked(self) -> bool:
        """Ends training when it was asked to stop."""
        if self.halted():
            raise _Asked
        return False

    def place(self, corpus: Corpus) -> tuple[Path, str]:
        """Where a data set lies and what is measured of it; looked up once."""
        if corpus.key not in self.splits:
            try:
                data = find_data(self.run.root, corpus)
                self.splits[corpus.key] = data, split_of(data, corpus, self.run.cache)
            except ValueError as error:
                self.splits[corpus.key] = error
        if isinstance(found := self.splits[corpus.key], ValueError):
            raise found
        return found

    def cell(self, cell: Cell) -> Iterator[tuple[str, Any]]:
        """Trains and measures; yields what there is to say of the cell, as it comes."""
        data, split = self.place(cell.corpus)
        job = training(self.run, cell, data)
        self.asked()
        yield "training", self.trained(job, cell)
        for protocol in self.run.measured(self.table):
            tell = lambda event, protocol=protocol: self.tell(cell, f"measure, {protocol}", event)  # noqa: E731
            asked = measuring(self.run, cell, data, split, protocol)
            done = evaluate(asked, tell, self.stop, ranks=self.ranks, workers=self.run.workers)
            if done:
                yield protocol, json.loads(Path(done["results"]).read_text(encoding="utf-8"))
                self.stopped = self.stopped or done["stopped"]
            self.asked()

    def trained(self, job: TrainRun, cell: Cell) -> dict[str, Any]:
        """The model of a cell: what is in the folder already, else trained. Returns how it was made."""
        said, note = described(job), job.out.with_suffix(".options.json")
        made = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else None
        if not job.out.is_file():
            if self.ranks.rank == 0:
                files.write_text(note, json.dumps(said))
            train(job, lambda event: self.tell(cell, "train", event), self.asked, self.ranks)
            return said
        if made not in (None, said):
            raise ValueError(
                f"{job.out.name!r} in {str(job.out.parent)!r} was trained with other options: name another folder with "
                "--out, or delete it."
            )
        return said if made else {"brought": job.out.name}

    def tell(self, cell: Cell, step: str, event: dict[str, Any]) -> None:
        """Passes on what training and measuring say, and of which cell."""
        kind = "did" if event["event"] == "done" else event["event"]
        self.emit({**event, "event": kind, "cell": cell.key, "step": step})


def reproduce(
    run: Reproduction,
    emit: Emit = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Runs every cell of a table and writes out/<table>.md, .csv, .tex and .json; returns the last event, "done".

    Killed or stopped at any point and called again with the same options it goes on with the models and records in
    `out`. A cell that cannot be run has its sentence under "problems". Raises ValueError for options that cannot be.
    """
    todo = cells(run)
    work = _Under(run, emit, stop, ranks or Ranks.current())
    found: dict[str, dict[str, Any]] = {cell.key: {"problem": NOT_YET} for cell in todo}
    for n, cell in enumerate(todo):
        said = found[cell.key]
        work.emit({"event": "cell", "cell": cell.key, "n": n + 1, "of": len(todo)})
        try:
            for what, value in work.cell(cell):
                said[what] = value
            del said["problem"]
        except _Asked:
            break
        except (ValueError, OSError) as error:
            if work.halted():  # before there was anything to keep
                break
            said["problem"] = _sentence(error)
            work.emit({"event": "problem", "cell": cell.key, "message": said["problem"]})
    done = {"event": "done", "stopped": work.stopped, "files": [], "rows": []}
    done["problems"] = {key: said["problem"] for key, said in found.items() if "problem" in said}
    if work.ranks.rank == 0:
        table = side_by_side.compared(work.table, todo, found, run.measured(work.table))
        made = {"format": FORMAT, "options": _options(run), **table}
        done |= {"rows": made["rows"], "files": [str(path) for path in side_by_side.write(made, run.out)]}
    work.emit(done)
    return done


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"The system refused a file: {error.strerror}; free some space or check the folder's permissions."
    return str(error)


def _options(run: Reproduction) -> dict[str, Any]:
    said = {k: v for k, v in asdict(run).items() if k not in ("root", "out", "cache", "workers", "table")}
    return {k: v for k, v in said.items() if v not in (None, {}, ())}
