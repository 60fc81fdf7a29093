"""Killed and gone on with, in several processes, under a launcher: the numbers are those of one process, to the bit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess

import pytest
import torch
from paths import ROOT
from toys import small_model

from bsoftmax.data.sample import write_sample
from bsoftmax.evaluation import parallel
from bsoftmax.evaluation.plan import EvalRun, prepare
from bsoftmax.evaluation.run import evaluate
from bsoftmax.images.drawing import KINDS

SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [r"{root}"]
import torch
from bsoftmax.evaluation import aggregate as records
from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate

folder, out, dies = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
append, flushed = records.append, []

def deadly(file, made):
    flushed.append(1)
    if len(flushed) == dies:
        file.write(b'{{"i": 9, "image": "torn')
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    append(file, made)

records.append = deadly
evaluate(EvalRun(str(folder / "data"), out, str(folder / "model.safetensors"), methods=("cam", "gradcam++"), batch=4,
                 cache=folder / "cache", rounds=20, device="cpu"))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


def options(folder, out):
    return EvalRun(
        str(folder / "data"), out, str(folder / "model.safetensors"), methods=("cam", "gradcam++"), batch=4,
        cache=folder / "cache", rounds=20, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve drawn pictures with boxes and masks, a small model of their classes, and what one process says of both."""
    root = tmp_path_factory.mktemp("shared")
    write_sample(root / "data", 1, 48)
    small_model(tuple(sorted(KINDS))).save(root / "model.safetensors")
    (root / "script.py").write_text(SCRIPT.format(root=ROOT))
    evaluate(options(root, root / "alone"))
    return root


def launch(command, folder, out, dies=0):
    command = [*command, str(folder / "script.py"), str(folder), str(out), str(dies)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


def same(out, folder):
    """Whether the results are the same in all but what the command was."""
    found, alone = (json.loads((at / "results.json").read_text()) for at in (out, folder / "alone"))
    assert found["n"] == alone["n"] == 12
    return found == alone


def test_a_killed_evaluation_goes_on_and_ends_alike(folder, tmp_path, forks):
    done = launch(forks, folder, tmp_path, dies=3)  # its head and one chunk of four are written, the next line is torn
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    lines = (tmp_path / "records-0.jsonl").read_bytes().split(b"\n")
    assert len(lines) == 1 + 4 + 1
    assert lines[-1].endswith(b"torn")
    assert not (tmp_path / "results.json").exists()
    events = []
    evaluate(options(folder, tmp_path), events.append)
    assert next(e["done"] for e in events if e["event"] == "progress") > 4
    assert same(tmp_path, folder)


def test_what_one_process_began_two_workers_finish(folder, tmp_path):
    asked, events = iter([False]), []
    evaluate(options(folder, tmp_path), stop=lambda: next(asked, True))
    assert json.loads((tmp_path / "results.json").read_text())["n"] == 4
    evaluate(options(folder, tmp_path), events.append, workers=2)
    assert [p.name for p in sorted(tmp_path.glob("records-*"))] == ["records-0.jsonl", "records-1.jsonl"]
    assert {"event": "progress", "done": 12, "total": 12} in events
    assert same(tmp_path, folder)


def test_two_ranks_of_a_launcher_say_what_one_process_says(folder, tmp_path, torchrun):
    done = launch(torchrun, folder, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(tmp_path.glob("records-*"))) == 2
    assert same(tmp_path, folder)


def test_threads_do_not_move_a_digit(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluate(options(folder, tmp_path))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert same(tmp_path, folder)


def test_as_many_workers_as_are_worth_it(folder, tmp_path, monkeypatch):
    work = prepare(options(folder, tmp_path))
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 16)
    for batch, expected in ((16, 1), (1, 3)):
        bench = dataclasses.replace(work, run=dataclasses.replace(work.run, batch=batch))
        assert parallel.default_workers(bench) == expected
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    assert parallel.default_workers(bench) == 2


class Dead:
    """A process that ended without a word."""

    exitcode = -9


def test_a_worker_that_ends_early_is_told_in_one_sentence():
    said = parallel.multiprocessing.Queue()
    with pytest.raises(ValueError, match=r"exit code -9.+again.+\.$"):
        parallel._collect([Dead()], said, None, None, lambda: False)


def test_the_error_of_a_worker_is_the_error_of_the_run():
    said = parallel.multiprocessing.Queue()
    said.put(("error", "The disk is full."))
    with pytest.raises(ValueError, match=r"^The disk is full\.$"):
        parallel._collect([Dead()], said, None, None, lambda: False)


def test_workers_and_ranks_exclude_each_other(folder, tmp_path):
    for workers in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            evaluate(options(folder, tmp_path), workers=workers)
