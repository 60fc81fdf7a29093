"""Features that were damaged after they were written: found by their checksums, made again, and said."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from extracted import every, exact, shard_files
from toys import counted


def flip(path):
    """One bit of a number, which stays finite."""
    rows = np.load(path)
    rows.view(np.uint16)[0, 0, 0] ^= 1
    np.save(path, rows)


def swap(path):
    rows = np.load(path)
    np.save(path, rows[::-1].copy())


def names(missing):
    def change(path):
        described = path.with_suffix(".json")
        said = json.loads(described.read_text())
        described.write_text(json.dumps({**said, "unreadable": {missing: "gone"}}))

    return change


def described(text):
    return lambda path: path.with_suffix(".json").write_text(text)


DAMAGE = {
    "a bit": flip, "rows in another order": swap, "of images that are not there": names("999"),
    "of an image of another shard": names("0"), "of an image of its own": names("4"), "of no number": names("x"),
    "the old form": described("{}"), "a list": described("[]"), "null": described("null"),
    "cut off": described('{"sha'), "no checksum": described('{"unreadable": {}}'),
    "another's checksum": described('{"sha256": "0", "unreadable": {}}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_shard_that_does_not_match_its_checksum_is_made_again_and_said(kind, folders, model, tmp_path, small_shards):
    first = every(exact(model, folders, tmp_path, 2))
    DAMAGE[kind](shard_files(tmp_path)[1])
    said = []
    with counted(model) as calls:
        again = exact(model, folders, tmp_path, 2, warn=said.append)
    assert calls == [4, 4]
    assert torch.equal(every(again), first)
    assert said == ["1 of 3 files of features do not match their checksums: they are made again."]


def test_sound_features_say_nothing(folders, model, tmp_path, small_shards):
    said = []
    for _ in range(2):
        exact(model, folders, tmp_path, warn=said.append)
    assert said == []
