"""The drawn set: the same for the same numbers, its masks and boxes exact, its colours silent about the class."""

import csv
import zipfile

import numpy as np
import pytest
from PIL import Image
from toys import refusal

from bsoftmax.data.layouts import read_data, train_val
from bsoftmax.data.limits import LIMITS
from bsoftmax.data.sample import sample_zip, write_sample
from bsoftmax.data.sets import DataError
from bsoftmax.images.drawing import KINDS, draw_image


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample") / "set", per_class=6, size=80)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_is_read_as_class_folders_with_places(root):
    data = read_data(root, root / "never", LIMITS)
    assert (data.layout, data.classes, data.skipped) == ("folders", tuple(sorted(KINDS)), ())
    train, val, _ = train_val(data)
    assert (train.counts(), val.counts()) == ([6] * 6, [2] * 6)
    assert all(len(t.boxes) == len(t.masks) == 1 and t.size == (80, 80) for t in (*train.annotations, *val.annotations))


def test_every_box_is_that_of_its_mask(root):
    with open(root / "boxes.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "x0", "y0", "x1", "y1"]
    assert len({row[0] for row in rows}) == len(rows) == 48
    for path, *box in rows:
        with Image.open((root / "masks" / path).with_suffix(".png")) as stored, Image.open(root / path) as image:
            mask = np.asarray(stored) > 0
            assert stored.size == image.size == (80, 80)
        ys, xs = np.nonzero(mask)
        assert [xs.min(), ys.min(), xs.max(), ys.max()] == list(map(int, box))
        assert 0.03 < mask.mean() < 0.5


def test_the_same_numbers_draw_the_same_bytes(root, tmp_path):
    assert files(write_sample(tmp_path / "again", 6, 80)) == files(root)
    other = files(write_sample(tmp_path / "other", 6, 80, seed=1))
    assert other.keys() == files(root).keys()
    assert all(other[name] != data for name, data in files(root).items())


def test_a_larger_set_begins_with_the_smaller_one(root, tmp_path):
    larger, smaller = files(write_sample(tmp_path / "larger", 7, 80)), files(root)
    assert all(larger[name] == data for name, data in smaller.items() if name not in ("boxes.csv", "manifest.json"))


def test_it_is_drawn_once_and_nothing_of_anybodys_is_overwritten(root, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert write_sample(root, per_class=6, size=80) == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    assert "is not empty" in refusal(lambda: write_sample(root, per_class=7, size=80), DataError)
    (tmp_path / "mine").write_text("letters")
    assert "is not empty" in refusal(lambda: write_sample(tmp_path, 2, 32), DataError)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert read_data(write_sample(tmp_path / "empty", 2, 32), tmp_path).classes == tuple(sorted(KINDS))


def test_the_zip_is_the_folder(root, tmp_path):
    path = sample_zip(tmp_path / "sample.zip", 6, 80)
    with zipfile.ZipFile(path) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    assert inside == {name: data for name, data in files(root).items() if name != "manifest.json"}
    assert sample_zip(tmp_path / "again.zip", 6, 80).read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.zip", "sample.zip"]
    through_zip, on_disk = (read_data(p, tmp_path / "work", LIMITS).splits for p in (path, root))
    for split, images in on_disk.items():
        assert through_zip[split].fingerprint() == images.fingerprint()
        assert [t.boxes for t in through_zip[split].annotations] == [t.boxes for t in images.annotations]


def test_a_zip_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken.zip").mkdir()
    (tmp_path / "taken.zip" / "x").touch()
    with pytest.raises(OSError, match="taken"):
        sample_zip(tmp_path / "taken.zip", 1, 32)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.zip"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (33, 47), (200, 120)])
def test_a_thing_lies_within_its_picture_in_one_piece(kind, size):
    for seed in range(3):
        image, mask, (x0, y0, x1, y1) = draw_image(kind, size, np.random.default_rng(seed))
        assert image.size == size
        assert mask.shape == size[::-1]
        assert 0 <= x0 < x1 < size[0]
        assert 0 <= y0 < y1 < size[1]
        assert not mask[:y0].any()
        assert not mask[y1 + 1 :].any()
        assert all(mask[y0 : y1 + 1, x0 : x1 + 1].any(axis).mean() > 0.9 for axis in (0, 1))


def test_colour_does_not_give_the_class_away():
    """The nearest class by mean colour of the thing, left one out, is right about as often as chance."""
    colours, kinds = [], []
    for k, kind in enumerate(KINDS):
        for n in range(40):
            image, mask, _ = draw_image(kind, (32, 32), np.random.default_rng([k, n]))
            pixels = np.asarray(image, dtype=float)
            colours.append(pixels[mask].mean(0))
            kinds.append(k)
    colours, kinds = np.array(colours), np.array(kinds)
    right = 0
    for n in range(len(kinds)):
        rest = np.arange(len(kinds)) != n
        means = [colours[rest & (kinds == k)].mean(0) for k in range(len(KINDS))]
        right += int(np.argmin([np.linalg.norm(colours[n] - m) for m in means])) == kinds[n]
    assert right / len(kinds) < 0.35  # chance is 0.17


def test_the_same_seed_gives_the_same_picture_whatever_was_drawn_before():
    first = draw_image("key", (40, 40), np.random.default_rng(3))
    draw_image("boat", (40, 40), np.random.default_rng(4))
    again = draw_image("key", (40, 40), np.random.default_rng(3))
    assert np.array_equal(np.asarray(first[0]), np.asarray(again[0]))
    assert first[2] == again[2]
