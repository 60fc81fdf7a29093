"""Features on disk: found again, made again where damaged, and never mixed with those of others."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from extracted import every, exact, shard_files
from PIL import Image
from torch import nn
from toys import counted, toy

from bsoftmax.data.sets import ImageSet, read_class_folders


def test_what_is_there_is_not_computed_again(folders, model, tmp_path, small_shards):
    first = every(exact(model, folders, tmp_path, 2))
    seen = []
    with counted(model) as calls:
        again = exact(model, folders, tmp_path, 2, tick=lambda *at: seen.append(at))
    assert calls == []
    assert seen == [(18, 18)]
    assert torch.equal(every(again), first)


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def damage_empty(path):
    path.write_bytes(b"")


def damage_text(path):
    path.write_text("version https://git-lfs.github.com/spec/v1")


def damage_shape(path):
    np.save(path, np.load(path)[:, :, 1:])


def damage_kind(path):
    np.save(path, np.load(path).astype(np.float32))


def damage_nan(path):
    rows = np.load(path)
    rows[0, 0, 0] = np.nan
    np.save(path, rows)


def damage_pickle(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def damage_list(path):
    path.with_suffix(".json").write_text("{")


def damage_no_list(path):
    path.with_suffix(".json").unlink()


DAMAGE = {name[7:]: value for name, value in dict(globals()).items() if name.startswith("damage_")}


@pytest.mark.parametrize("kind", [*DAMAGE, "gone"])
def test_a_damaged_shard_is_made_again_and_no_other(kind, folders, model, tmp_path, small_shards):
    first = every(exact(model, folders, tmp_path, 2))
    path = shard_files(tmp_path)[1]
    path.unlink() if kind == "gone" else DAMAGE[kind](path)
    with counted(model) as calls:
        again = exact(model, folders, tmp_path, 2)
    assert calls == [4, 4]
    assert torch.equal(every(again), first)


def retouch(folders):
    folders.paths[0].write_bytes(folders.paths[0].read_bytes() + b"\0")
    return folders


CHANGES = {
    "views": (lambda m, f: (m, f), {"views": 3}),
    "seed": (lambda m, f: (m, f), {"seed": 1}),
    "weights": (lambda m, f: (toy("mlp", double=False, seed=1), f), {}),
    "a file": (lambda m, f: (m, retouch(f)), {}),
    "the order": (lambda m, f: (m, f.subset(range(8, -1, -1))), {}),
    "fewer images": (lambda m, f: (m, f.subset(range(8))), {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_vectors_have_another_folder(change, folders, model, tmp_path):
    first = exact(model, folders, tmp_path, views=2)
    changed, options = CHANGES[change]
    with counted(model):
        other = exact(*changed(model, folders), tmp_path, **{"views": 2, **options})
    assert other.key != first.key
    assert {p.name for p in tmp_path.iterdir() if p.name != "data"} == {first.key, other.key}


def test_heads_and_class_names_do_not_matter_to_the_key(folders, model, tmp_path):
    first = exact(model, folders, tmp_path)
    nn.init.zeros_(model.softmax[-1].weight)
    renamed = ImageSet(folders.root, folders.paths, tuple(reversed(folders.labels)), ("a", "b", "c"))
    with counted(model) as calls:
        again = exact(model, renamed, tmp_path)
    assert calls == []
    assert again.key == first.key
    assert again.labels.tolist() == list(reversed(folders.labels))


def test_two_sets_of_like_names_and_sizes_are_told_apart(tmp_path, model):
    """Bitmaps are all of one size, and people name them 1, 2, 3."""
    sets = []
    for name, shade in (("train", 30), ("val", 200)):
        for label in ("a", "b"):
            (tmp_path / name / label).mkdir(parents=True)
            Image.new("RGB", (30, 30), (shade, 0, 0)).save(tmp_path / name / label / "1.bmp")
        sets.append(exact(model, read_class_folders(tmp_path / name), tmp_path / "cache"))
    assert not torch.allclose(every(sets[0]), every(sets[1]))


def test_a_moved_data_set_finds_its_features(folders, model, tmp_path):
    exact(model, folders, tmp_path / "cache")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    with counted(model) as calls:
        exact(model, read_class_folders(tmp_path / "elsewhere" / "train"), tmp_path / "cache")
    assert calls == []


def test_the_manifest_says_what_was_done(folders, model, tmp_path):
    found = exact(model, folders, tmp_path, 2, seed=3)
    meta = json.loads((tmp_path / found.key / "manifest.json").read_text())
    assert (meta["trunk"], meta["views"], meta["seed"], meta["images"]) == ("toy", 2, 3, 9)
    assert (meta["precision"], meta["images_per_shard"]) == ("float32", 512)
    assert meta["preprocessing"]["size"] == 24
