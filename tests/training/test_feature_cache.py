"""Features on disk: equal to the network's own, computed once, safe from bad pictures, stops and others."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest
import torch
from extracted import EVERY, every, exact, shard_files
from PIL import Image
from toys import coloured, counted, refusal, small_model, toy

from bsoftmax.data.sets import DataError, read_class_folders
from bsoftmax.training import feature_cache
from bsoftmax.training.feature_cache import Stopped, bytes_needed, fast_precision, feature_width, features
from bsoftmax.training.fitting import fit
from bsoftmax.training.loop import BranchConfig
from bsoftmax.training.vectors import Vectors, pack, unpack
from bsoftmax.utils.distributed import Ranks

# --- what is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_features_cost_one_trunk_image_a_view(count, folders, model, tmp_path):
    seen = []
    with counted(model) as calls:
        found = exact(model, folders, tmp_path, count, batch=4, tick=lambda done, of: seen.append((done, of)))
    assert sum(calls) == count * len(folders) == count * 9
    assert max(calls) <= 4
    assert (found.views, found.n, found.width) == (count, 9, 24)
    assert found.labels.tolist() == list(folders.labels)
    assert found.take(EVERY).dtype == torch.float32
    assert seen == [(4 * count, 9 * count), (8 * count, 9 * count), (9 * count, 9 * count)]


@pytest.mark.parametrize("batch", [2, 3, 64])
def test_features_are_those_of_each_view_of_each_image(batch, folders, model, tmp_path, small_shards):
    found = exact(model, folders, tmp_path, 2, batch=batch)
    for n, path in enumerate(folders.paths):
        x = model.preprocess(Image.open(path))
        for view, seen in enumerate((x, x.flip(3))):
            expected = model.neck(*model.trunk(seen))[0]
            torch.testing.assert_close(found.take(torch.tensor([n]), view)[0], expected, rtol=1e-3, atol=1e-4)


def test_vectors_are_given_in_the_order_asked_each_in_its_view(folders, model, tmp_path, small_shards):
    found = exact(model, folders, tmp_path, 3)
    index, view = torch.tensor([8, 0, 5, 5, 3]), torch.tensor([1, 0, 2, 0, 1])
    assert torch.equal(found.take(index, view), every(found)[view, index])
    assert found.take(torch.tensor([], dtype=torch.int64)).shape == (0, 24)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e5, 1e30])
def test_numbers_of_any_size_survive_half_precision(scale):
    h = scale * torch.randn(5, 2, 40, generator=torch.Generator().manual_seed(0))
    h[1] = 0
    h[2, 0, 3] = scale * 70000
    rows = pack(h)
    assert rows.dtype == torch.float16
    assert rows.isfinite().all()
    again = unpack(rows)
    largest = h.abs().amax(-1, keepdim=True)
    assert ((again - h).abs() <= 2**-11 * h.abs() + 2**-29 * largest).all()
    assert torch.equal(again[1], h[1])


def test_huge_features_lose_nothing(folders, tmp_path):
    model = toy("gap", double=False)
    expected = every(exact(model, folders, tmp_path / "a"))
    with torch.no_grad():
        for p in model.trunk.parameters():
            p *= 1e7
    got = every(exact(model, folders, tmp_path / "b"))
    assert got.max() > 65504
    torch.testing.assert_close(got / 1e7, expected, rtol=2e-3, atol=1e-5)


def test_a_model_whose_features_are_no_numbers_is_refused(folders, model, tmp_path):
    with torch.no_grad():
        model.trunk.net[0].bias[0] = float("nan")
    assert "not finite" in refusal(lambda: exact(model, folders, tmp_path), DataError)


@pytest.mark.parametrize("views", [1, 3])
def test_the_size_said_before_is_the_size_on_disk(views, folders, model, tmp_path, small_shards):
    exact(model, folders, tmp_path, views)
    stored = sum(np.load(path, allow_pickle=False).nbytes for path in shard_files(tmp_path))
    assert stored == bytes_needed(model, 9, views) == 9 * views * (24 + 1) * 2
    assert feature_width(toy("gap")) == 6


def test_shards_of_wide_heads_hold_fewer_images(folders, model, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 2 * 25 * 2 * 5 + 7)  # five images of two views, and a little
    exact(model, folders, tmp_path, 2)
    assert [len(np.load(path)) for path in shard_files(tmp_path)] == [5, 4]


def test_bfloat16_is_near_and_float32_is_the_rule_where_it_is_slow(folders, tmp_path):
    model = small_model(folders.classes)
    a, b = (every(features(model, folders, tmp_path, precision=p)) for p in ("float32", "bfloat16"))
    assert 0 < (a - b).norm() / a.norm() < 0.05
    auto = every(features(model, folders, tmp_path))
    assert torch.equal(auto, a if fast_precision(model.device) is None else b)
    assert "precision" in refusal(lambda: features(model, folders, tmp_path, precision="half"))


def test_random_views_repeat_whatever_the_batch(folders, model, tmp_path, small_shards):
    first, again, other = (
        every(exact(model, folders, tmp_path / name, 3, seed, batch=batch))
        for name, seed, batch in (("a", 0, 64), ("b", 0, 3), ("c", 1, 64))
    )
    torch.testing.assert_close(first, again, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first[:2], other[:2])
    assert not torch.allclose(first[2], other[2], rtol=1e-2)


# --- bad input, stops, several processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "empty", "gone"])
def test_a_picture_that_cannot_be_read_is_listed_and_the_others_are_not_touched(kind, folders, model, tmp_path):
    whole = every(exact(model, folders, tmp_path / "a"))
    folders.paths[4].unlink()
    if kind != "gone":
        folders.paths[4].write_bytes(b"not a picture" if kind == "text" else b"")
    for _ in range(2):  # made, and found again
        found = exact(model, folders, tmp_path / "b")
        assert list(found.bad) == [4]
        assert folders.paths[4].name in found.bad[4]
        assert found.good.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
        assert torch.equal(every(found)[:, found.good], whole[:, found.good])
        assert not every(found)[:, 4].any()


def test_a_set_without_one_readable_picture_is_refused(folders, model, tmp_path):
    for path in folders.paths:
        path.write_bytes(b"not a picture")
    assert "None of the 9 images" in refusal(lambda: exact(model, folders, tmp_path), DataError)


def test_a_stop_keeps_the_shards_that_are_finished(folders, model, tmp_path, small_shards):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 4  # batches of two: the second shard is half done

    with pytest.raises(Stopped):
        exact(model, folders, tmp_path, batch=2, stop=stop)
    assert not issubclass(Stopped, ValueError)
    assert [path.stem for path in shard_files(tmp_path)] == ["000000"]
    seen = []
    with counted(model) as calls:
        exact(model, folders, tmp_path, batch=2, tick=lambda *at: seen.append(at))
    assert sum(calls) == 5
    assert seen == [(4, 9), (6, 9), (8, 9), (9, 9)]


def test_a_full_disk_is_said_before_and_while_writing(folders, model, tmp_path, monkeypatch, small_shards):
    with monkeypatch.context() as patched:
        patched.setattr(feature_cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        with counted(model) as calls:
            assert "make room" in refusal(lambda: exact(model, folders, tmp_path), DataError)
        assert calls == []

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        assert "No space left" in refusal(lambda: exact(model, folders, tmp_path), DataError)
    assert not [p for p in tmp_path.glob("*/*") if p.suffix == ".npy" or p.name.startswith(".")]
    assert exact(model, folders, tmp_path).n == 9


def test_ranks_share_the_shards_and_each_sees_all(folders, model, tmp_path, small_shards):
    """Two ranks in turn, without a group: the first finds the other's shard missing where nothing is shared."""
    with counted(model) as calls:
        message = refusal(lambda: exact(model, folders, tmp_path, ranks=Ranks(0, 2)), DataError)
        assert "share" in message
        assert sum(calls) == 5
        found = exact(model, folders, tmp_path, ranks=Ranks(1, 2))
        assert sum(calls) == 9
    assert torch.equal(every(found), every(exact(model, folders, tmp_path / "alone")))


def test_two_threads_at_one_folder_do_not_hurt_each_other(folders, model, tmp_path, small_shards):
    found = [None, None]

    def work(n):
        found[n] = every(exact(model, folders, tmp_path, 2))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert torch.equal(found[0], found[1])
    assert not list(tmp_path.glob("*/.*"))


def test_a_file_that_another_rank_renames_while_the_folder_is_listed_is_no_error(folders, model, tmp_path):
    folder = tmp_path / exact(model, folders, tmp_path).key
    (folder / ".000000.new").symlink_to(folder / "renamed")  # listed, and yet not there
    assert len(exact(model, folders, tmp_path).labels) == len(folders)


def test_what_a_killed_process_left_is_removed_when_it_is_old(folders, model, tmp_path):
    folder = tmp_path / exact(model, folders, tmp_path).key
    old, new = folder / ".000000.old", folder / ".000000.new"
    for scrap in (old, new):
        scrap.write_bytes(b"half")
    os.utime(old, (1, 1))
    exact(model, folders, tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_training_from_disk_equals_training_from_memory(folders, model, tmp_path, small_shards):
    stored = exact(model, folders, tmp_path, 2)
    held = Vectors.of(every(stored), stored.labels)
    heads = []
    for given in (stored, held):
        torch.manual_seed(0)
        heads.append(model.add_branch())
        list(fit(heads[-1], given, BranchConfig(epochs=3, batch=4, lr=0.1)))
    assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters()))


def test_from_folders_to_a_branch_that_tells_colours_apart(tmp_path):
    """The whole way on a real network: features once, the head trained on them, the frozen part untouched."""
    sets = (read_class_folders(coloured(tmp_path / s, {s: 6}, seed=i) / s) for i, s in enumerate(("train", "val")))
    train, val = sets
    model = small_model(train.classes, branch=False)
    frozen = model.frozen_hash()
    seen, measured = exact(model, train, tmp_path, 2), exact(model, val, tmp_path)
    with counted(model) as calls:
        torch.manual_seed(0)
        *_, last = fit(model.add_branch(), seen, BranchConfig(epochs=40, batch=6, lr=0.05), val=measured)
    assert calls == []
    assert last.val_accuracy == 100
    assert last.recalled == (100, 100, 100)
    assert model.frozen_hash() == frozen
