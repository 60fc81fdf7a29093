"""Two processes under either launcher compute what one does: extraction, both heads, fine-tuning."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys

import pytest
import torch
from paths import ROOT, TESTS
from toys import coloured

from bsoftmax.models import checkpoints
from bsoftmax.training import feature_cache, finetuning, fitting

SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = [r"{tests}", r"{root}"]
import torch
from toys import counted, small_model
from bsoftmax.data.sets import read_splits
from bsoftmax.models import checkpoints
from bsoftmax.training import feature_cache, fitting, finetuning as tuning
from bsoftmax.training.loop import BranchConfig
from bsoftmax.utils.distributed import Ranks

torch.set_num_threads(1)
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
feature_cache.SHARD_IMAGES, fitting.STATE_SECONDS = 4, 0.0
tuning.fast_precision = lambda device: None
ranks = Ranks.current()
train, val = read_splits(folder)
model = small_model(train.classes, branch=False)
with counted(model) as calls:
    seen = [feature_cache.features(model, images, out / "cache", views, batch=3, precision="float32", ranks=ranks)
            for images, views in ((train, 2), (val, 1))]
said, tensors = {{}}, {{}}
for loss in ("sigmoid", "softmax"):
    torch.manual_seed(ranks.rank)  # rank 0's numbers are the ones that count
    head = model.add_branch()
    config = BranchConfig(epochs=6, batch=4, lr=0.05)  # nine images: the last batch is of one
    epochs = list(fitting.fit(head, seen[0], config, loss, seen[1], out / f"{{loss}}.state", ranks))
    said[loss] = [[e.loss, e.accuracy, e.val_accuracy, *e.recalled] for e in epochs]
    tensors |= {{f"{{loss}}.{{k}}": v for k, v in head.state_dict().items()}}
config = tuning.FinetuneConfig(epochs=2, batch=4, lr=0.01)
torch.nn.init.zeros_(model.softmax.weight)
epochs = list(tuning.finetune(model, train, config, val, out / "tuned.state", ranks=ranks))
said["tuned"] = [[e.loss, e.accuracy, e.val_accuracy, *e.recalled] for e in epochs]
tensors |= {{f"tuned.{{k}}": v for k, v in model.state_dict().items() if v.is_floating_point()}}
checkpoints.write(out / f"rank{{ranks.rank}}.safetensors", tensors, {{"said": said}})
(out / f"rank{{ranks.rank}}.json").write_text(json.dumps({{"world": ranks.world, "computed": sum(calls)}}))
"""
LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    # --multi_gpu asks for its own launcher of several processes, which there is for CPUs only through MPI
    "accelerate": [
        "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1",
        "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
    ],
}  # fmt: skip


def prepare(folder, out):
    out.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=TESTS, root=ROOT))
    return script


def launch(folder, launcher, forks):
    """The launcher, and every process it starts, are forks of one that has imported everything."""
    out = folder / launcher
    command = [*forks, *LAUNCHERS[launcher], *forks[2:], str(prepare(folder, out)), str(folder), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process says: this one, where all is imported already."""
    folder = coloured(tmp_path_factory.mktemp("ranks"), {"train": 3, "val": 1})
    out, threads = folder / "alone", torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        for module, name in (
            (feature_cache, "SHARD_IMAGES"),
            (fitting, "STATE_SECONDS"),
            (finetuning, "fast_precision"),
        ):
            patched.setattr(module, name, getattr(module, name))  # puts back what the script sets
        patched.setattr(sys, "path", [*sys.path])
        patched.setattr(sys, "argv", ["script.py", str(folder), str(out)])
        patched.delenv("WORLD_SIZE", raising=False)
        runpy.run_path(str(prepare(folder, out)), run_name="__main__")
    torch.set_num_threads(threads)
    return out


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_equal_one(launcher, alone, forks):
    out = launch(alone.parent, launcher, forks)
    said = [json.loads((out / f"rank{n}.json").read_text()) for n in (0, 1)]
    assert [one["world"] for one in said] == [2, 2]
    assert [one["computed"] for one in said] == [2 * 5 + 3, 2 * 4]  # shards of 4, 4, 1 in two views; 3 of the val set
    (expected, meta), *others = (
        checkpoints.read(p) for p in (alone / "rank0.safetensors", *sorted(out.glob("rank*rs")))
    )
    for tensors, other in others:
        for kind, epochs in meta["said"].items():
            torch.testing.assert_close(torch.tensor(other["said"][kind]), torch.tensor(epochs), rtol=1e-4, atol=1e-4)
        for name, tensor in expected.items():
            torch.testing.assert_close(tensors[name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    assert len(others) == 2
    assert torch.equal(others[0][0]["sigmoid.weight"], others[1][0]["sigmoid.weight"])


def test_one_process_alone_needs_no_group(alone):
    assert json.loads((alone / "rank0.json").read_text()) == {"world": 1, "computed": 9 * 2 + 3}
