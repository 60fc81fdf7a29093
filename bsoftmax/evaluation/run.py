"""An evaluation: from a data set and a model to its results, with progress events (plain dicts)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ..cams.methods import METHODS
from ..utils.distributed import Ranks
from ..utils.events import Emit
from ..utils.files import write_text
from . import parallel, results
from .aggregate import Record, RunningTable
from .measure import passes
from .plan import EvalRun, Prepared, measure, prepare

TABLE_SECONDS, PROGRESS_SECONDS = 10.0, 0.25
Report = Callable[[dict[str, Any], Path], Iterable[Path]]  # writes files about the results into a folder


class Progress:
    """Emits the number of images done, and every TABLE_SECONDS the table so far."""

    def __init__(self, job: Prepared, emit: Emit) -> None:
        self.job, self.emit = job, emit
        self.running = RunningTable(job.entries, job.setup.rule)
        self.progress_at, self.table_at = 0.0, time.monotonic()
        for record in job.read():
            self.running.add(record)

    def __call__(self, records: list[Record]) -> None:
        for record in records:
            self.running.add(record)
        now, total, done = time.monotonic(), self.job.total, self.running.n + self.running.unreadable
        if done >= total or now - self.progress_at > PROGRESS_SECONDS:
            self.progress_at = now
            self.emit({"event": "progress", "done": done, "total": total})
        if now - self.table_at > TABLE_SECONDS:
            self.table_at = now
            self.emit({"event": "table", "n": self.running.n, "total": total, "rows": self.running.table()})


def evaluate(
    run: EvalRun, emit: Emit = lambda event: None, stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None, workers: int | None = 1, report: Report = lambda results, folder: (),
) -> dict[str, Any]:  # fmt: skip
    """Measures and writes results.json into `run.out`, then what `report` does; returns the last event, "done".

    A killed evaluation called again with the same options resumes, with any number of `workers` on this machine (None:
    one a core, where each has enough to do) or of `ranks`. `stop` is called between chunks: the results are then of the
    images measured so far. Raises as `prepare` does, and ValueError when no image was measured or a worker ended.
    """
    ranks, start = ranks or Ranks.current(), time.monotonic()
    job = prepare(run, ranks.rank)
    stopped = measure_all(job, emit, stop, ranks, workers)
    done = _finish(job, stopped, time.monotonic() - start, emit, report) if ranks.rank == 0 else {}
    ranks.barrier()
    return done


def measure_all(job: Prepared, emit: Emit, stop: Callable[[], bool], ranks: Ranks, workers: int | None) -> bool:
    """Measures what is not recorded yet, with progress events; whether it was stopped. Raises as `evaluate` does."""
    if workers is not None and (workers < 1 or (workers > 1 and ranks.world > 1)):
        raise ValueError(f"Expected --workers of at least 1, and 1 under a launcher of several, got {workers}.")
    emit = emit if ranks.rank == 0 else lambda event: None
    _announce(job, emit)
    progress = Progress(job, emit)
    if workers is None:
        workers = 1 if ranks.world > 1 else parallel.default_workers(job)
    if workers > 1:
        stopped = parallel.measure(job, workers, progress, stop)
    else:
        stopped = measure(job, ranks.rank, ranks.world, progress, stop)
    return _any_rank(ranks, stopped)


def _any_rank(ranks: Ranks, stopped: bool) -> bool:
    """Waits for all ranks; whether any was stopped."""
    flag = torch.tensor([float(stopped)])
    ranks.all_reduce_([flag])
    return bool(flag)


def _announce(job: Prepared, emit: Emit) -> None:
    data, setup = job.header["data"], job.setup
    event = {"event": "data", "n": job.total, "split": data["split"], "layout": data["layout"]}
    event |= {"classes": list(setup.images.classes), "columns": [c.key for c in setup.columns]}
    emit({**event, "notes": list(job.notes)})
    maps = sum(c.shift not in setup.unmasked for c in setup.maps)
    own = sum(METHODS[c.method].passes for c in setup.maps)
    emit({"event": "size", "passes": job.total * passes(maps, own, setup.explained), "maps": maps})


def _finish(job: Prepared, stopped: bool, seconds: float, emit: Emit, report: Report) -> dict[str, Any]:
    """Writes the results of the images recorded so far."""
    run = job.run
    found = results.collect(job.read, job.entries, job.setup.rule, job.total, run.seed, run.rounds)
    complete = found["n"] + len(found["unreadable"]) == job.total
    if not complete and not stopped:
        raise ValueError(
            f"Only {found['n']} of {job.total} images are recorded in {str(run.out)!r}: it must be a folder that all "
            "ranks share."
        )
    written = {"format": results.FORMAT, **job.header, "notes": list(job.notes), "seed": run.seed, "rounds": run.rounds}
    written |= {"command": list(run.command), "complete": complete, **found}
    path = write_text(run.out / "results.json", json.dumps(written, allow_nan=False))
    files = [str(path), *map(str, report(written, run.out))]
    done = {"event": "done", "results": str(path), "files": files, "n": found["n"], "unreadable": found["unreadable"]}
    done |= {"stopped": stopped, "complete": complete, "seconds": seconds, "notes": written["notes"]}
    emit(done)
    return done
