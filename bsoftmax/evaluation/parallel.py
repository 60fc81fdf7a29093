"""Several processes on one machine at one evaluation: each takes its chunks, the first one listens."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import queue
from collections.abc import Callable
from typing import Any

import torch

from .plan import EvalRun, Prepared, prepare
from .plan import measure as measure_share

MOST, CHUNKS = 8, 4  # a process takes seconds to start and some hundred megabytes
WAIT = 0.2  # seconds between two looks at whether to stop, and whether all are alive


def enough(work: Prepared) -> int:
    """How many processes are worth their start: one a core (or GPU), at most MOST, each with CHUNKS chunks to do."""
    places = torch.cuda.device_count() if work.bench.model.device.type == "cuda" else os.cpu_count() or 1
    return max(1, min(places, MOST, work.total // (CHUNKS * work.run.batch)))


def measure(
    work: Prepared, workers: int, note: Callable[[list[dict[str, Any]]], None], stop: Callable[[], bool]
) -> bool:
    """Measures with `workers` processes; whether it was stopped. Raises ValueError when one of them ends early."""
    context = multiprocessing.get_context("spawn")
    said, asked = context.Queue(), context.Event()
    crew = [
        context.Process(target=_work, args=(work.run, work.key, rank, workers, said, asked), daemon=True)
        for rank in range(workers)
    ]
    for process in crew:
        process.start()
    try:
        return _listen(crew, said, asked, note, stop)
    finally:
        for process in crew:
            process.terminate()
            process.join()


def _listen(crew: list, said: Any, asked: Any, note: Callable, stop: Callable[[], bool]) -> bool:
    ended: list[bool] = []
    while len(ended) < len(crew):
        if stop():
            asked.set()
        try:
            kind, value = said.get(timeout=WAIT)
        except queue.Empty:
            if dead := [p for p in crew if p.exitcode]:
                raise ValueError(
                    f"A worker ended early (exit code {dead[0].exitcode}; a negative one is a signal, -9 often too "
                    "little memory): run the same command again to go on, with fewer --workers."
                ) from None
            continue
        if kind == "error":
            raise ValueError(value)
        if kind == "ended":
            ended.append(value)
        else:
            note(value)
    return any(ended)


def _work(run: EvalRun, key: str, rank: int, world: int, said: Any, asked: Any) -> None:
    try:
        work = prepare(dataclasses.replace(run, command=()), rank)
        if work.key != key:
            raise ValueError("The data or the model changed while the evaluation began: run it again.")
        stopped = measure_share(work, rank, world, lambda made: said.put(("records", made)), asked.is_set)
        said.put(("ended", stopped))
    except (ValueError, OSError) as error:
        said.put(("error", str(error)))
