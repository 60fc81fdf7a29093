"""Data sets as their makers hand them out: stand-ins laid out to the letter, and the real ones where they are."""

import csv
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from archives_made import (
    NAMES,
    WNIDS,
    annotation,
    drawn,
    make_cars,
    make_cub,
    make_imagenet_flat,
    make_imagenet_folders,
    make_imagenet_kaggle,
    make_openimages,
    make_wsol,
    png,
    structs,
    write,
    zip_of,
)
from paths import DATA
from PIL import Image
from scipy.io import savemat
from toys import refusal

from bsoftmax.data import annotations
from bsoftmax.data.layouts import read_data, train_val
from bsoftmax.data.limits import LIMITS
from bsoftmax.data.sets import DataError

SIZE = (64, 48)


def read(root, **options):
    return read_data(root, Path(root) / "never", **options)


def known(images):
    """By class name, in order: the boxes of its images."""
    found = {}
    for label, truth in zip(images.labels, images.annotations):
        assert truth.size == SIZE
        (box,) = truth.boxes
        found.setdefault(label, []).append(tuple(box))
    return found


def expected(classes, numbers):
    return {k: [drawn(k, n, SIZE)[2] for n in numbers] for k in range(classes)}


def shows(images):
    """Whether every file is the picture of its class that was drawn, whatever its name says."""
    for n, path in enumerate(images.paths):
        stored = np.asarray(Image.open(path), dtype=float)
        near = [
            np.abs(stored - np.asarray(drawn(k, m, SIZE)[0], dtype=float)).mean()
            for k in range(len(images.classes))
            for m in range(7)
        ]
        assert int(np.argmin(near)) // 7 == images.labels[n]
    return len(images)


# --- WSOL ---


def test_the_benchmarks_own_tree(tmp_path):
    data = read(make_wsol(tmp_path))
    assert (data.layout, list(data.splits), data.skipped) == ("wsol", ["train", "val", "test"], ())
    assert data.classes == tuple(f"{k + 1:03d}.{NAMES[k].title()}" for k in range(3))
    assert [known(data.splits[s]) for s in data.splits] == [
        expected(3, numbers) for numbers in (range(4), [6], range(4, 6))
    ]
    assert shows(data.splits["test"]) == 6
    assert data.splits["train"].name(0) == "001.Boat/boat_0.jpg"


def test_pictures_elsewhere_and_a_list_of_classes(tmp_path):
    meta = make_wsol(tmp_path)
    moved = (tmp_path / "dataset/CUB").rename(tmp_path / "elsewhere")
    assert "None of the 21 pictures listed can be read" in refusal(lambda: read(meta), DataError)
    write(meta / "classes.txt", ["one", "two words", "three", "four"])
    data = read(meta, images=moved)
    assert data.classes == ("one", "two words", "three", "four")
    assert data.splits["test"].counts() == [2, 2, 2, 0]


def test_a_zip_of_metadata_with_its_images(tmp_path):
    meta, files = make_wsol(tmp_path), {}
    for folder, start in ((meta, "set/"), (tmp_path / "dataset/CUB", "set/images/")):
        files |= {start + p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files["set/images/003.House/house_5.jpg"] = b"broken"
    data = read_data(zip_of(tmp_path / "set.zip", files), tmp_path / "work", LIMITS)
    assert data.layout == "wsol"
    assert data.splits["test"].counts() == [2, 2, 1]
    assert known(data.splits["train"]) == expected(3, range(4))
    assert [(s.name, s.reason[:13]) for s in data.skipped] == [("003.House/house_5.jpg", "it is damaged")]


def test_openimages_has_masks(tmp_path):
    data = read(make_openimages(tmp_path))
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 12, "val": 3, "test": 6}
    assert data.classes == NAMES[:3]
    assert data.splits["train"].annotations == ()
    images = data.splits["test"]
    for n, truth in enumerate(images.annotations):
        mask = drawn(images.labels[n], 4 + n % 2, SIZE)[1]
        upper, lower = (np.asarray(Image.open(p)) > 0 for p in truth.masks)
        np.testing.assert_array_equal(upper | lower, mask)
        assert not (upper & lower).any()
        assert (np.asarray(Image.open(truth.ignore)) > 0).sum() == SIZE[0]
        assert (truth.size, truth.boxes) == (SIZE, ())


def test_labels_alone_make_numbered_classes(tmp_path):
    for n in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"a, {n}.png").write_bytes(png())
    write(tmp_path / "test/image_ids.txt", [f"a, {n}.png" for n in range(4)])
    write(tmp_path / "test/class_labels.txt", [f"a, {n}.png,{n % 3}" for n in range(4)])
    write(tmp_path / "test/localization.txt", ["a, 1.png,1,2,3,4", "a, 1.png,0,0,1,1"])
    data = read(tmp_path)
    assert data.classes == ("class 0", "class 1", "class 2")
    assert [t.boxes for t in data.splits["test"].annotations] == [(), ((1, 2, 3, 4), (0, 0, 1, 1)), (), ()]


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("class_labels.txt", "x.jpg,one", "test/class_labels.txt line 7: expected path,label"),
        ("class_labels.txt", "x.jpg,-1", "test/class_labels.txt line 7: expected path,label"),
        ("class_labels.txt", "x.jpg", "test/class_labels.txt line 7: expected path,label"),
        ("image_sizes.txt", "x.jpg,0,5", "test/image_sizes.txt line 7: expected path,w,h"),
        ("localization.txt", "x.jpg,5,2,3,4", "test/localization.txt line 7: expected path,x0,y0,x1,y1"),
        ("localization.txt", "x.jpg", "test/localization.txt line 7"),
        ("localization.txt", "x.jpg,gone.png,", "names the mask 'gone.png'"),
        ("localization.txt", "001.Boat/boat_4.jpg,99,2,100,4", "lies outside the picture of 64 x 48"),
        ("image_ids.txt", "unlisted.jpg", "test/class_labels.txt has no line for 'unlisted.jpg'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, file, line, words):
    path = make_wsol(tmp_path) / "test" / file
    path.write_text(path.read_text() + line + "\n")
    assert words in refusal(lambda: read(path.parent.parent), DataError)


def test_pictures_that_are_missing_are_listed(tmp_path):
    meta = make_wsol(tmp_path)
    (tmp_path / "dataset/CUB/001.Boat/boat_4.jpg").unlink()
    data = read(meta)
    assert data.splits["test"].counts() == [1, 2, 2]
    assert [tuple(s) for s in data.skipped] == [("001.Boat/boat_4.jpg", "it is listed, but there is no such file")]


# --- CUB and Cars ---


@pytest.mark.parametrize("up", range(4))
def test_cub(tmp_path, up):
    base = make_cub(tmp_path / "data/birds")
    write(base.parent / "attributes.txt", ["1 has_bill_shape::curved"])  # the archive has it beside its folder
    data = read([base, *base.parents][up])
    assert (data.layout, list(data.splits), data.skipped) == ("cub", ["train", "test"], ())
    assert data.classes == ("001.Boat", "002.Fish", "003.House")
    assert known(data.splits["train"]) == expected(3, range(4))
    assert known(data.splits["test"]) == expected(3, range(4, 6))
    assert shows(data.splits["test"]) == 6
    assert train_val(data)[2] == "The data's own split: 12 images in train, 6 in test."


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("images.txt", "99 002.Fish/new.jpg", "numbers '002.Fish/new.jpg' as 99, which has no label"),
        ("bounding_boxes.txt", "1 3 4 5", "bounding_boxes.txt, image 1: expected four numbers"),
        ("bounding_boxes.txt", "1 3 4 0 5", "bounding_boxes.txt, image 1: expected four numbers"),
        ("images.txt", "nothing", "images.txt line 19: expected a number and a value, found 'nothing'"),
    ],
)
def test_lists_of_cub_that_do_not_fit(tmp_path, file, line, words):
    path = make_cub(tmp_path) / file
    path.write_text(path.read_text() + line + "\n")
    assert words in refusal(lambda: read(path.parent), DataError)


@pytest.mark.parametrize("labelled", ["devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"])
def test_cars(tmp_path, labelled):
    data = read(make_cars(tmp_path, labelled=labelled))
    assert (data.layout, list(data.splits), data.skipped) == ("cars", ["train", "test"], ())
    assert data.classes == ("Maker Boat 2012", "Maker Fish 2012", "Maker House 2012")
    assert known(data.splits["train"]) == expected(3, range(4))
    assert known(data.splits["test"]) == expected(3, range(4, 6))
    assert shows(data.splits["test"]) == 6


def test_cars_without_the_labels_of_test(tmp_path):
    data = read(make_cars(tmp_path, labelled=""))
    assert list(data.splits) == ["train"]
    assert [(s.name, "cars_test_annos_withlabels.mat" in s.reason) for s in data.skipped] == [("cars_test", True)]
    assert len(train_val(data)[1]) == 3


def test_cars_of_one_class_and_one_picture(tmp_path):
    data = read(make_cars(tmp_path, classes=1, train=1, test=1))
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 1, "test": 1}


def test_matlab_files_that_cannot_be_read(tmp_path, monkeypatch):
    base = make_cars(tmp_path)
    annos, meta = base / "devkit/cars_train_annos.mat", base / "devkit/cars_meta.mat"
    savemat(annos, {"annotations": structs([{"class": 1, "fname": "a.jpg"}, {"class": 2, "fname": "b.jpg"}])})
    assert "entry 1: expected bbox_x1" in refusal(lambda: read(base), DataError)
    edges = dict.fromkeys(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), 3)
    savemat(annos, {"annotations": structs([{**edges, "class": 4, "fname": "a.jpg"}])})
    assert "entry 1: expected a class of 1 to 3, found 4" in refusal(lambda: read(base), DataError)
    annos.write_bytes(b"MATLAB 5.0 no more")
    assert "cars_train_annos.mat with annotations" in refusal(lambda: read(base), DataError)
    meta.unlink()
    assert "cars_meta.mat with class_names, found no such file" in refusal(lambda: read(base), DataError)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "pip install scipy" in refusal(lambda: read(base), DataError)


# --- ImageNet ---


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (make_imagenet_kaggle, {}),
        (make_imagenet_kaggle, {"xml": False}),
        (make_imagenet_flat, {}),
        (make_imagenet_flat, {"devkit": False}),
        (make_imagenet_folders, {}),
    ],
)
def test_imagenet(tmp_path, make, options):
    data = read(make(tmp_path, **options))
    assert (data.layout, list(data.splits), data.skipped) == ("imagenet", ["train", "val"], ())
    assert data.classes == WNIDS[:3]
    assert data.splits["train"].annotations == ()
    assert data.splits["train"].counts() == [4, 4, 4]
    assert known(data.splits["val"]) == expected(3, range(4, 6))
    assert shows(data.splits["val"]) == 6
    assert data.splits["train"].name(0) == "train/n01440764/n01440764_0.JPEG"


def test_imagenet_without_boxes(tmp_path):
    data = read(make_imagenet_flat(tmp_path, xml=False))
    assert data.splits["val"].annotations == ()
    assert shows(data.splits["val"]) == 6


def test_imagenet_without_anything_that_says_the_classes_of_val(tmp_path):
    base = make_imagenet_flat(tmp_path, xml=False, devkit=False)
    assert "Nothing says the classes of the 6 pictures in val" in refusal(lambda: read(base), DataError)


def test_a_picture_of_val_that_no_list_has(tmp_path):
    base = make_imagenet_kaggle(tmp_path, xml=False)
    extra = base / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000099.JPEG"
    extra.write_bytes(next(extra.parent.iterdir()).read_bytes())
    data = read(base)
    assert len(data.splits["val"]) == 6
    assert [tuple(s) for s in data.skipped] == [("val/ILSVRC2012_val_00000099.JPEG", "nothing says its class")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation><size>", "expected XML with the picture's size"),
        ("<annotation/>", "expected XML with the picture's size"),
        ('<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>', "without a document type"),
        (annotation("n01440764", "x", (64, 48), [(9, 9, 3, 20)]), "expected four numbers x0, y0, x1, y1"),
        (annotation("n01440764", "x", (64, 48), [("", 9, 3, 20)]), "expected four numbers x0, y0, x1, y1"),
    ],
)
def test_xml_that_cannot_be_read_is_named(tmp_path, text, words):
    base = make_imagenet_kaggle(tmp_path)
    (base / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml").write_text(text)
    message = refusal(lambda: read(base), DataError)
    assert message.startswith("ILSVRC2012_val_00000002.xml")
    assert words in message


def test_several_objects_and_boxes_over_the_edge():
    text = annotation("n01440764", "x", (64, 48), [(1, 2, 3, 4), (0, 0, 64, 48)])
    assert annotations.parse_voc("x.xml", text) == ((64, 48), ((1, 2, 3, 4), (0, 0, 63, 47)))


def test_an_ordinary_set_whose_classes_are_wnids_is_imagenet_only_with_val(tmp_path):
    base = make_imagenet_folders(tmp_path)
    assert read(base / "train").layout == "folders"


@pytest.mark.parametrize("make", [make_wsol, make_openimages, make_cub, make_imagenet_kaggle, make_imagenet_flat])
def test_random_damage_to_a_list_ends_in_a_sentence_or_a_set(tmp_path, make):
    base, rng = make(tmp_path, 3, 2, 1), random.Random(0)
    lists = sorted(p for p in base.rglob("*") if p.suffix in (".txt", ".csv", ".xml"))
    for _ in range(40):
        path = rng.choice(lists)
        sound = path.read_bytes()
        damaged = bytearray(sound)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.choice(b"\n,x-9 \x00\xff<")
        path.write_bytes(damaged)
        message = ""
        try:
            assert len(read(base).splits) >= 1
        except DataError as error:
            message = str(error)
        assert not message or (message.endswith(".") and "\n" not in message and len(message) < 500)
        path.write_bytes(sound)


# --- the real ones ---


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "splits", "classes"),
    [("cub10", {"train": 300, "test": 243}, 10), ("wild20-boxes", {"test": 250}, 20)],
)
def test_real_metadata(name, splits, classes):
    root = DATA / name
    if not root.is_dir():
        (pytest.fail if os.environ.get("BSOFTMAX_DATA") else pytest.skip)(f"there is no {root}")
    data = read(root)
    assert {k: len(v) for k, v in data.splits.items()} == splits
    assert (len(data.classes), data.layout, data.skipped) == (classes, "wsol", ())
    for split, images in data.splits.items():
        boxes = {}
        with open(root / split / "localization.txt", newline="") as file:
            for path, *corners in csv.reader(file):
                boxes.setdefault(path, []).append(tuple(map(int, corners)))
        for n, truth in enumerate(images.annotations):
            assert list(truth.boxes) == boxes[images.name(n)]
            assert data.classes[images.labels[n]] == images.name(n).split("/")[0]
            with Image.open(images.paths[n]) as image:
                assert image.size == truth.size
