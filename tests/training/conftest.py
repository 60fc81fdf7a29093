"""Nine coloured images, a toy, shards of four, and a small training run."""

from __future__ import annotations

import pytest
from toys import coloured, small_model, toy

from bsoftmax.data.sets import read_class_folders
from bsoftmax.training import feature_cache
from bsoftmax.training.job import TrainRun
from bsoftmax.training.loop import BranchConfig, ProbeConfig


@pytest.fixture
def folders(tmp_path):
    return read_class_folders(coloured(tmp_path / "data", {"train": 3}) / "train")


@pytest.fixture
def small_shards(monkeypatch):
    """Four images a shard: nine images make three, the last of one image."""
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 4)


@pytest.fixture
def model():
    return toy("mlp", double=False)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A model file for two classes nobody asks about: its trunk is what is used."""
    path = tmp_path_factory.mktemp("trunk") / "trunk.safetensors"
    small_model(("cat", "dog"), branch=False).save(path)
    return path


@pytest.fixture
def job(trunk, tmp_path):
    """A small run on three colours."""
    data = coloured(tmp_path / "data", {"train": 8, "val": 4})
    probe, branch = ProbeConfig(epochs=4, batch=8), BranchConfig(epochs=4, batch=8)
    return TrainRun(str(data), tmp_path / "out.safetensors", tmp_path / "cache", str(trunk), probe=probe, branch=branch,
                    command=("bsoftmax", "train", "data"))  # fmt: skip
