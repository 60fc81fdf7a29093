"""An evaluation: from a data set and a model to results and their tables; events (plain dicts) tell what happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from ..utils.distributed import Ranks
from ..utils.events import Emit
from ..utils.files import write_text
from . import parallel, results, tables
from .aggregate import Running
from .plan import EvalRun, Prepared, measure, prepare

TABLE_SECONDS, PROGRESS_SECONDS = 10.0, 0.25


class Progress:
    """What is told while images are measured: how far it has come, and now and then the table so far."""

    def __init__(self, work: Prepared, emit: Emit) -> None:
        self.work, self.emit, self.start = work, emit, time.monotonic()
        self.running = Running(work.entries, work.bench.rule)
        self.told, self.tabled = 0.0, time.monotonic()
        for record in work.read():
            self.running.add(record)
        self.before = self.done

    @property
    def done(self) -> int:
        """Images looked at."""
        return self.running.n + self.running.unreadable

    def __call__(self, made: list[dict[str, Any]]) -> None:
        for record in made:
            self.running.add(record)
        now, total = time.monotonic(), self.work.total
        if self.done >= total or now - self.told > PROGRESS_SECONDS:
            self.told = now
            self.emit({"event": "progress", "done": self.done, "total": total})
        if now - self.tabled > TABLE_SECONDS:
            self.tabled = now
            self.emit({"event": "table", "n": self.running.n, "total": total, "rows": self.running.table()})


def evaluate(
    run: EvalRun,
    emit: Emit = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
    workers: int | None = 1,
) -> dict[str, Any]:
    """Measures and writes results.json and its tables into `run.out`; returns the last event, "done".

    Killed at any point and called again with the same options it goes on where it was, in as many processes as one
    likes: `workers` on this machine (None: as many as are worth it), or `ranks`. `stop` is asked between chunks: what
    was measured so far is written then, and marked. Raises as `prepare` does, and ValueError when no image was measured
    or a worker ended.
    """
    ranks = ranks or Ranks.current()
    if workers is not None and (workers < 1 or (workers > 1 and ranks.world > 1)):
        raise ValueError(f"Expected --workers of at least 1, and 1 under a launcher of several, got {workers}.")
    start = time.monotonic()
    work = prepare(run, ranks.rank)
    emit = emit if ranks.rank == 0 else lambda event: None
    _announce(work, emit)
    progress = Progress(work, emit)
    if workers is None:
        workers = 1 if ranks.world > 1 else parallel.enough(work)
    if workers > 1:
        stopped = parallel.measure(work, workers, progress, stop)
    else:
        stopped = measure(work, ranks.rank, ranks.world, progress, stop)
    stopped = _anywhere(ranks, stopped)
    done = _finish(work, stopped, time.monotonic() - start, emit) if ranks.rank == 0 else {}
    ranks.barrier()
    return done


def _anywhere(ranks: Ranks, stopped: bool) -> bool:
    """Waits until every rank is here; whether any was stopped."""
    flag = torch.tensor([float(stopped)])
    ranks.sum_([flag])
    return bool(flag)


def _announce(work: Prepared, emit: Emit) -> None:
    data, bench = work.stamp["data"], work.bench
    said = {"n": work.total, "split": data["split"], "layout": data["layout"], "classes": list(bench.images.classes)}
    emit({"event": "data", **said, "columns": [c.key for c in bench.columns], "notes": list(work.notes)})
    looks = len(bench.looks)
    passes = 1 + looks * ("fidelity" in bench.explained) + looks * 58 * ("curves" in bench.explained)
    emit({"event": "size", "passes": work.total * passes, "maps": looks})


def _finish(work: Prepared, stopped: bool, seconds: float, emit: Emit) -> dict[str, Any]:
    """Results and tables from whatever was recorded."""
    run = work.run
    found = results.collect(work.read, work.entries, work.bench.rule, work.total, run.seed, run.rounds)
    complete = found["n"] + len(found["unreadable"]) == work.total
    if not complete and not stopped:
        raise ValueError(
            f"Only {found['n']} of {work.total} images are recorded in {str(run.out)!r}: it must be a folder that all "
            "ranks share."
        )
    made = {"format": results.FORMAT, **work.stamp, "notes": list(work.notes), "seed": run.seed, "rounds": run.rounds}
    made |= {"command": list(run.command), "complete": complete, **found}
    path = write_text(run.out / "results.json", json.dumps(made, allow_nan=False))
    files = [str(path), *map(str, tables.write(made, run.out))]
    done = {"event": "done", "results": str(path), "files": files, "n": made["n"], "unreadable": made["unreadable"]}
    done |= {"stopped": stopped, "complete": made["complete"], "seconds": seconds, "notes": made["notes"]}
    emit(done)
    return done
