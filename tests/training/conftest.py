"""Nine coloured images, a toy, and shards of four."""

from __future__ import annotations

import pytest
from toys import coloured, toy

from bsoftmax.data.sets import read_class_folders
from bsoftmax.training import feature_cache


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
