"""kill -9 at any point: what is on disk is whole, and the same command goes on to the same end."""

from __future__ import annotations

import signal
import subprocess

import numpy as np
import pytest
import torch
from paths import ROOT, TESTS
from toys import coloured

from bsoftmax.models import checkpoints

# A run: its folder, where to die ("never" for a run to the end), at which visit of that place.
RUN = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [r"{tests}", r"{root}"]
import torch
from toys import small_model
from bsoftmax.data.sets import read_class_folders
from bsoftmax.models import checkpoints
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training import feature_cache, fitting, vectors
from bsoftmax.training.loop import BranchConfig

feature_cache.SHARD_IMAGES, fitting.STATE_SECONDS = 4, 0.0
visits, computed = 0, 0

def run(folder, where, at):
    def deadly(place, function):
        def called(*arguments, **options):
            global visits
            if place == where:
                visits += 1
                if visits == at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return called

    images = read_class_folders(folder / "train")
    model = small_model(images.classes, branch=False)
    forward = deadly("trunk", model.trunk.forward)
    def counting(x):
        global computed
        computed += len(x)
        return forward(x)
    model.trunk.forward = counting
    vectors.np.save = deadly("shard", vectors.np.save)  # the file is open, nothing is in it
    os.fsync = deadly("fsync", os.fsync)
    os.replace = deadly("replace", os.replace)
    checkpoints.save_file = deadly("state", checkpoints.save_file)
    fitting.LOSSES["sigmoid"] = deadly("step", balanced_bce)
    found = feature_cache.features(model, images, folder / "cache", 2, batch=2, precision="float32")
    torch.manual_seed(0)
    branch = model.add_branch()
    config = BranchConfig(epochs=5, batch=4, lr=0.05)
    losses = [e.loss for e in fitting.fit(branch, found, config, state=folder / "branch.state")]
    checkpoints.write(folder / "branch.safetensors", branch.state_dict(), {{"losses": losses, "computed": computed}})

torch.set_num_threads(1)
run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def run(forks):
    """Runs to the end or to a kill: run(folder, where, at) -> exit code."""

    def one(folder, where, at=1):
        command = [*forks, "-c", RUN.format(tests=TESTS, root=ROOT), str(folder), where, str(at)]
        return subprocess.run(command, check=False).returncode

    return one


def finished(folder):
    return checkpoints.read(folder / "branch.safetensors")


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    folder = coloured(tmp_path_factory.mktemp("whole"), {"train": 3})
    assert run(folder, "never") == 0
    return finished(folder)


def everything_is_whole(folder):
    for path in folder.glob("cache/*/[0-9]*.npy"):
        assert np.isfinite(np.load(path, allow_pickle=False)).all()
    for path in folder.glob("*.state"):
        checkpoints.read(path)


# Nine images in two views are 18 trunk images; a shard of four costs 8. Where, at which visit, what is left.
DEATHS = {
    "at the start of extraction": ("trunk", 1, 18),
    "between two shards' ends": ("trunk", 7, 10),
    "before a shard's numbers are written": ("shard", 2, 10),
    "while a shard is flushed": ("fsync", 5, 10),  # manifest, then two files a shard
    "before a shard gets its name": ("replace", 3, 18),
    "in the middle of an epoch": ("step", 8, 0),
    "while a state is written": ("state", 3, 0),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_killed_run_goes_on_and_ends_alike(death, run, whole, tmp_path):
    where, at, left = DEATHS[death]
    folder = coloured(tmp_path, {"train": 3})
    assert run(folder, where, at) == -signal.SIGKILL
    everything_is_whole(folder)
    assert run(folder, "never") == 0
    tensors, meta = finished(folder)
    assert meta["losses"] == whole[1]["losses"]
    assert meta["computed"] == left
    assert all(torch.equal(v, whole[0][k]) for k, v in tensors.items())


def test_a_run_killed_again_and_again_ends_alike(run, whole, tmp_path):
    folder = coloured(tmp_path, {"train": 3})
    for where, at in (("trunk", 5), ("shard", 1), ("step", 5), ("state", 2)):
        assert run(folder, where, at) == -signal.SIGKILL
        everything_is_whole(folder)
    assert run(folder, "never") == 0
    assert finished(folder)[1]["losses"] == whole[1]["losses"]
