"""Class folders with all that people put into them, what is said of boxes, and the division into train and val."""

import hashlib
import os
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from archives_made import DOORS, pictures, png, put, through, two_classes, zip_of
from toys import refusal

from bsoftmax.data import file_tree, folders
from bsoftmax.data.layouts import LAYOUTS, read_data, train_val
from bsoftmax.data.limits import LIMITS, UNLIMITED, Limits, bytes_in_words, describe
from bsoftmax.data.sets import DataError, DataSet, ImageSet, read_class_folders
from bsoftmax.utils.text import printable

STRANGE = [
    "<b>bold</b>",
    "${alert(1)}",
    "{{7*7}} `x`",
    "Schneeleopard ❄ 雪豹",
    "  two  spaces ",
    "a,b;c'd\"e",
    "-rf",
    "con",
]


def read(root, limits=LIMITS, **options):
    return read_data(root, root / "never", limits, **options)


@pytest.fixture(params=DOORS)
def door(request, tmp_path):
    return through(request.param, tmp_path)


def skipped(data):
    return {s.name: s.reason for s in data.skipped}


def test_class_folders(door):
    data = door(pictures("", dog=3, cat=2))
    assert (data.layout, list(data.splits), data.classes, data.skipped) == ("folders", ["all"], ("cat", "dog"), ())
    images = data.splits["all"]
    assert [images.name(n) for n in range(5)] == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert images.labels == (0, 0, 1, 1, 1)
    assert [p.read_bytes() for p in images.paths] == [png(seed=s) for s in (300, 301, 300, 301, 302)]


@pytest.mark.parametrize("other", ["val", "valid", "Validation", "test"])
def test_own_splits(door, other):
    data = door({**pictures("train/", cat=2, dog=2), **pictures(f"{other}/", cat=1, dog=2)})
    key = "test" if other == "test" else "val"
    assert {k: (s.counts(), s.name(0)) for k, s in data.splits.items()} == {
        "train": ([2, 2], "cat/0.png"),
        key: ([1, 2], "cat/0.png"),
    }
    train, val, sentence = train_val(data)
    assert (len(train), len(val)) == (4, 3)
    assert sentence == f"The data's own split: 4 images in train, 3 in {key}."


def test_val_goes_before_test_and_classes_are_shared(door):
    data = door({**pictures("train/", a=2, b=2, c=1), **pictures("val/", a=1), **pictures("test/", b=1)})
    assert data.classes == ("a", "b", "c")
    assert {k: s.counts() for k, s in data.splits.items()} == {"train": [2, 2, 1], "val": [1, 0, 0], "test": [0, 1, 0]}
    _, val, sentence = train_val(data)
    assert val.counts() == [1, 0, 0]
    assert sentence.endswith("1 in val; 2 classes have no image in val: 'b', 'c'.")


def test_a_class_that_only_val_has_cannot_be_learnt(door):
    data = door({**pictures("train/", a=2, b=2), **pictures("val/", a=1, zebra=1)})
    assert "'zebra'" in refusal(lambda: train_val(data), DataError)


def test_the_same_folders_have_one_fingerprint_through_every_door(tmp_path):
    files = {**pictures("", **{name.replace("/", "∕"): 2 for name in STRANGE}), **pictures("deep/er/and/", deeper=1)}
    folder = read_data(put(tmp_path / "data", files), tmp_path / "work").splits["all"]
    zips = [{f"{around}{n}": d for n, d in reversed(files.items())} for around in ("", "data/")]
    for n, entries in enumerate(zips):
        images = read_data(zip_of(tmp_path / f"{n}.zip", entries), tmp_path / "work").splits["all"]
        assert images.fingerprint() == folder.fingerprint()
        assert (images.labels, images.names, images.classes) == (folder.labels, folder.names, folder.classes)
    lines = sorted(f"{name}\t{name.split('/')[0]}" for name in files)
    assert folder.fingerprint() == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert folder.fingerprint() == read_class_folders(tmp_path / "data").fingerprint()


def test_strange_names_are_kept_as_they_are(door):
    names = [name.replace("/", "∕") for name in STRANGE]
    data = door(pictures("", **dict.fromkeys(names, 2)))
    assert data.classes == tuple(sorted(names))
    assert data.skipped == ()


def test_names_that_differ_by_case_or_normalisation_stay_apart(door):
    composed, apart = (unicodedata.normalize(form, "Löwe") for form in ("NFC", "NFD"))
    data = door(pictures("", cat=1, Cat=2, **{composed: 3, apart: 4}))
    assert data.classes == ("Cat", apart, composed, "cat")
    assert data.splits["all"].counts() == [2, 4, 3, 1]
    assert len(set(data.splits["all"].paths)) == 10


def test_control_characters_are_not_shown(door):
    data = door(pictures("", **{"a\x07b": 2, "a\x1bb": 2, "\u202eevil": 2}))
    assert data.classes == ("a�b", "a�b (2)", "�evil")
    assert data.splits["all"].counts() == [2, 2, 2]
    data.splits["all"].fingerprint().encode()


def test_names_of_broken_bytes_can_be_hashed(tmp_path):
    put(tmp_path / "data", pictures("", cat=2, dog=2))
    os.rename(bytes(tmp_path / "data" / "dog"), bytes(tmp_path / "data") + b"/d\xffg")
    images = read(tmp_path / "data").splits["all"]
    assert images.classes == ("cat", "d�g")
    assert len(images.fingerprint()) == 64
    assert printable("plain ü 雪") == "plain ü 雪"


def test_deep_nesting_below_a_class_is_fine(door):
    data = door({"cat/2024/may/x.png": png(), "cat/y.png": png(), "dog/a/b/c/d/e/z.JPG": png()})
    assert [data.splits["all"].name(n) for n in range(3)] == ["cat/y.png", "cat/2024/may/x.png", "dog/a/b/c/d/e/z.JPG"]


def test_litter_is_ignored_and_misfits_are_listed(door):
    litter = dict.fromkeys(["__MACOSX/cat/0.png", ".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", ".git/a.png"], b"x")
    misfits = {"cat/notes.md": b"x", "cat/fake.jpg": b"x", "dog/empty.gif": b"", "loose.png": png()}
    data = door({**two_classes(), **litter, **misfits})
    assert data.splits["all"].counts() == [2, 2]
    found = {name.removeprefix(DOORS["zip in a folder"]): reason for name, reason in skipped(data).items()}
    assert found.keys() == misfits.keys()
    assert found["cat/notes.md"] == "it is not a picture"
    assert found["dog/empty.gif"] == "it is empty"
    assert found["cat/fake.jpg"].startswith("it is damaged or not an image")
    assert found["loose.png"] == "it lies beside the class folders, not in one"


def test_a_class_without_a_sound_picture_is_left_out_and_named(door):
    data = door({**two_classes(), "ghost/a.png": b"x", "ghost/b.png": b""})
    assert data.classes == ("cat", "dog")
    assert skipped(data)["ghost"] == "no picture in it can be read, so this class is left out"
    assert len(data.skipped) == 3


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.png": png(), "b.png": png(), "cat/a.txt": b"x"}, "found pictures without one"),
        (
            {"cat/a.txt": b"x", "dog/b.txt": b"x", "readme.txt": b"x"},
            "2 folders and 1 files and no pictures in folders",
        ),
        ({"cat/a.txt": b"x", "dog/b.txt": b"x"}, "2 folders and 0 files"),
        ({"cat/a.png": png(), "cat/b.png": png()}, "found only the class 'cat'"),
        (
            {"cat/a.png": png(), "dog/b.png": b"x"},
            "found only the class 'cat' ('dog/b.png' was passed over: it is damaged",
        ),
        ({"cat/a.png": b"", "dog/b.png": b"x"}, "found none"),
    ],
)
def test_what_is_no_set_of_two_classes_is_refused(door, files, words):
    assert words in refusal(lambda: door(files), DataError)


def test_an_empty_folder_and_no_folder(tmp_path):
    assert "found nothing" in refusal(lambda: read(tmp_path), DataError)
    put(tmp_path, {"a.png": png(), "b.png": png()})
    assert "found pictures without one" in refusal(lambda: read(tmp_path), DataError)
    assert "There is no folder or zip" in refusal(lambda: read(tmp_path / "none"), DataError)


def test_a_folder_beyond_the_limits_is_refused_and_ones_own_is_not(tmp_path):
    root = put(tmp_path, pictures("", a=2, b=2, c=2))
    assert "at most 2 class folders, found 3" in refusal(lambda: read(root, Limits(classes=2)), DataError)
    assert "at most 5 images, found 6" in refusal(lambda: read(root, Limits(images=5)), DataError)
    assert len(read(root, None).splits["all"]) == 6


def test_of_a_large_folder_only_names_and_lengths_are_looked_at(tmp_path, monkeypatch):
    root = put(tmp_path, {**two_classes(), "cat/fake.png": b"x", "dog/empty.png": b""})
    monkeypatch.setattr(file_tree, "check_header", lambda *a: pytest.fail("a header was read"))
    data = read(root, replace(UNLIMITED, headers=5))
    assert data.splits["all"].counts() == [3, 2]
    assert skipped(data) == {"dog/empty.png": "it is empty"}


def test_links_in_circles_end(tmp_path):
    root = put(tmp_path / "data", two_classes())
    (root / "cat" / "again").symlink_to(root, target_is_directory=True)
    (root / "elk").symlink_to(put(tmp_path / "other", {"e.png": png()}), target_is_directory=True)
    assert read(root).splits["all"].counts() == [2, 2, 1]  # a class may be a link, but nothing below it


def test_limits_are_said_in_words():
    text = " ".join(describe(LIMITS))
    for words in ("1 GB", "80,000", "4 GB", "64 MB", "20,000 images", "2 to 1,000 classes"):
        assert words in text
    assert "7 images" in " ".join(describe(Limits(images=7)))
    assert [bytes_in_words(n) for n in (5, 2048, 1536 * 1024, 3 << 30)] == ["5 bytes", "2 KB", "1.5 MB", "3 GB"]


def plain(**counts):
    labels = [k for k, n in enumerate(counts.values()) for _ in range(n)]
    paths = tuple(Path(f"/data/{n}.png") for n in range(len(labels)))
    return DataSet("folders", {"all": ImageSet(Path("/data"), paths, tuple(labels), tuple(counts))})


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_is_in_both_parts_and_nothing_is_lost(share, seed):
    data = plain(a=2, b=3, c=10, d=100)
    train, val, sentence = train_val(data, share, seed)
    assert sorted(train.paths + val.paths) == sorted(data.splits["all"].paths)
    for n, t, v in zip((2, 3, 10, 100), train.counts(), val.counts()):
        assert t + v == n
        assert v == min(max(round(share * n), 1), n - 1)
    assert f"{len(train)} images to train on and {len(val)} to validate with" in sentence
    assert f"seed {seed}" in sentence


def test_the_division_depends_on_the_seed_alone():
    first, again, other = (train_val(plain(a=50, b=50), seed=s)[1].paths for s in (0, 0, 1))
    assert first == again != other
    drawn = Counter(p for s in range(200) for p in train_val(plain(a=10, b=10), 0.5, s)[1].paths)
    assert min(drawn.values()) > 60  # of 100 expected: every image may be drawn
    assert max(drawn.values()) < 140


def test_a_class_of_one_image_is_named():
    assert "The class 'lonely' has one image" in refusal(lambda: train_val(plain(a=5, lonely=1)), DataError)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_is_between_nothing_and_everything(share):
    assert "between 0 and 1" in refusal(lambda: train_val(plain(a=5, b=5), share), DataError)


def test_only_test_splits_leave_nothing_to_train_on():
    images = plain(a=2, b=2).splits["all"]
    assert "add train" in refusal(lambda: train_val(DataSet("x", {"val": images, "test": images})), DataError)


def test_every_layout_says_what_it_is():
    assert list(LAYOUTS)[-1] == "folders"  # it takes whatever the others leave
    assert all(key == layout.key and layout.title for key, layout in LAYOUTS.items())
    assert folders.SPLITS.keys() == {"train", "val", "test"}
