"""One evaluation in several processes of one machine: the workers measure, the main process collects."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import torch

from .aggregate import Record
from .plan import EvalRun, Prepared, prepare
from .plan import measure as measure_share

MAX_WORKERS, CHUNKS_PER_WORKER = 8, 4  # a process takes seconds to start and some hundred megabytes
POLL_SECONDS = 0.2
Message = tuple[str, Any]  # ("records", list of records), ("ended", whether it was stopped) or ("error", its sentence)


def default_workers(job: Prepared) -> int:
    """One process a core (or GPU), at most MAX_WORKERS, each with at least CHUNKS_PER_WORKER chunks."""
    devices = torch.cuda.device_count() if job.setup.model.device.type == "cuda" else os.cpu_count() or 1
    return max(1, min(devices, MAX_WORKERS, job.total // (CHUNKS_PER_WORKER * job.run.batch)))


def measure(job: Prepared, count: int, on_records: Callable[[list[Record]], None], stop: Callable[[], bool]) -> bool:
    """Measures with `count` processes; whether it was stopped. Raises ValueError when one of them ends early."""
    context = _context()
    messages: Queue[Message] = context.Queue()
    stop_event = context.Event()
    workers = [
        context.Process(target=_work, args=(job.run, job.key, rank, count, messages, stop_event), daemon=True)
        for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        return _collect(workers, messages, stop_event, on_records, stop)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _context() -> SpawnContext | ForkServerContext:
    """Where it is safe, workers are forks of one process that has imported everything and used nothing."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _collect(
    workers: Sequence[BaseProcess], messages: Queue[Message], stop_event: Event,
    on_records: Callable[[list[Record]], None], stop: Callable[[], bool],
) -> bool:  # fmt: skip
    ended: list[bool] = []
    while len(ended) < len(workers):
        if stop():
            stop_event.set()
        try:
            kind, value = messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if failed := [worker for worker in workers if worker.exitcode]:
                raise ValueError(
                    f"A worker ended early (exit code {failed[0].exitcode}; a negative one is a signal, -9 often too "
                    "little memory): run the same command again to go on, with fewer --workers."
                ) from None
            continue
        if kind == "error":
            raise ValueError(value)
        if kind == "ended":
            ended.append(value)
        else:
            on_records(value)
    return any(ended)


def _work(run: EvalRun, key: str, rank: int, world: int, messages: Queue[Message], stop_event: Event) -> None:
    try:
        job = prepare(dataclasses.replace(run, command=()), rank)
        if job.key != key:
            raise ValueError("The data or the model changed while the evaluation began: run it again.")
        stopped = measure_share(job, rank, world, lambda records: messages.put(("records", records)), stop_event.is_set)
        messages.put(("ended", stopped))
    except (ValueError, OSError) as error:
        messages.put(("error", str(error)))
