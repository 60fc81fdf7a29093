"""What class folders may say of places: boxes.csv, COCO files, masks."""

import json

import pytest
from archives_made import DOORS, pictures, png, put, through, two_classes
from PIL import Image
from toys import refusal

from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS
from bsoftmax.data.sets import DataError


def read(root, limits=LIMITS, **options):
    return read_data(root, root / "never", limits, **options)


@pytest.fixture(params=DOORS)
def door(request, tmp_path):
    return through(request.param, tmp_path)


def skipped(data):
    return {s.name: s.reason for s in data.skipped}


def boxed(files, *lines):
    return {**files, "boxes.csv": "\n".join(["path,x0,y0,x1,y1", *lines]).encode()}


def annotations(data):
    images = data.splits["all"]
    return {images.name(n): truth for n, truth in enumerate(images.annotations)}


def test_boxes_from_a_table(door):
    lines = ("cat/0.png,1,2,3,4", "", "dog/1.png,0,0,7,7", "cat/0.png,0,0,1.5,1", "./dog/0.png,-3,2,99,4")
    found = annotations(door(boxed(two_classes(), *lines)))
    assert {name: t.boxes for name, t in found.items()} == {
        "cat/0.png": ((1, 2, 3, 4), (0, 0, 1.5, 1)),
        "cat/1.png": (),
        "dog/0.png": ((0, 2, 7, 4),),
        "dog/1.png": ((0, 0, 7, 7),),
    }
    assert {t.size for t in found.values()} == {(8, 8)}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["cat/0.png,1,2,3"], "boxes.csv line 2: expected four numbers"),
        (["cat/0.png,1,2,3,4", "cat/1.png,1,2,x,4"], "boxes.csv line 3: expected four numbers"),
        (["cat/0.png,5,2,3,4"], "boxes.csv line 2: expected four numbers x0, y0, x1, y1 with x0 <= x1"),
        (["cat/0.png,1,2,3,nan"], "found '1,2,3,nan'"),
        (["cat/0.png,1,2,inf,4"], "found '1,2,inf,4'"),
        (["cat/0.png,8,2,9,4"], "lies outside the picture of 8 x 8 pixels"),
        (['"cat/0.png'], "boxes.csv line 2"),
    ],
)
def test_a_line_that_is_no_box_is_named(door, lines, words):
    assert words in refusal(lambda: door(boxed(two_classes(), *lines)), DataError)


def test_a_table_without_its_header_is_refused(door):
    files = {**two_classes(), "boxes.csv": b"cat/0.png,1,2,3,4\n"}
    assert "the header path,x0,y0,x1,y1 in boxes.csv line 1" in refusal(lambda: door(files), DataError)


def test_a_box_of_a_picture_that_is_not_there_is_listed_once(door):
    data = door(boxed(two_classes(), "cat/0.png,1,2,3,4", "cat/7.png,1,2,3,4", "cat/7.png,1,2,3,4"))
    assert skipped(data) == {"cat/7.png": "boxes.csv speaks of it, but there is no such picture"}


def coco(*annotations, names=("cat/0.png", "1.png")):
    images = [{"id": n, "file_name": name, "width": 8, "height": 8} for n, name in enumerate(names)]
    entries = [{"id": n, "image_id": i, "bbox": box, **more} for n, (i, box, more) in enumerate(annotations)]
    return {"instances.json": json.dumps({"images": images, "annotations": entries, "categories": []}).encode()}


def test_boxes_from_coco(door):
    files = {**pictures("", cat=2), "dog/2.png": png()}
    said = coco((0, [1, 2, 3, 4], {}), (1, [0, 0, 8, 8], {}), (0, [0, 0, 2, 2], {"iscrowd": 1}))
    found = annotations(door({**files, **said}))
    assert [found[n].boxes for n in sorted(found)] == [((1, 2, 3, 5),), ((0, 0, 7, 7),), ()]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (coco((0, [1, 2, 3], {})), "instances.json annotation 1: expected a bbox of four numbers"),
        (coco((0, [1, 2, 3, 4], {}), (5, [1, 2, 3, 4], {})), "annotation 2: expected the image_id of one"),
        (coco((0, [1, 2, 0, 4], {})), "annotation 1: expected four numbers"),
        ({"x.json": b'{"images": [{"id": 1}], "annotations": []}'}, "an id and a file_name"),
        ({"x.json": b'{"images": [{'}, "x.json is no JSON"),
        ({"x.json": b"[" * 100_000}, "x.json is no JSON"),
    ],
)
def test_an_annotation_that_is_none_is_named(door, data, words):
    assert words in refusal(lambda: door({**two_classes(), **data}), DataError)


def test_other_json_is_nobodys_business(door):
    assert door({**two_classes(), "about.json": b'{"made": "by hand"}'}).splits["all"].annotations == ()


def test_boxes_from_a_file_elsewhere(tmp_path):
    root = put(tmp_path / "data", two_classes())
    table = put(tmp_path, {"mine.csv": boxed({}, "cat/0.png,1,2,3,4")["boxes.csv"]}) / "mine.csv"
    assert annotations(read(root, boxes=table))["cat/0.png"].boxes == ((1, 2, 3, 4),)
    said = put(tmp_path, coco((0, [1, 2, 3, 4], {}))) / "instances.json"
    assert annotations(read(root, boxes=said))["cat/0.png"].boxes == ((1, 2, 3, 5),)
    assert "There is no file" in refusal(lambda: read(root, boxes=tmp_path / "none.csv"), DataError)
    other = put(tmp_path, {"other.json": b"{}"}) / "other.json"
    assert "Expected COCO annotations" in refusal(lambda: read(root, boxes=other), DataError)


def test_masks_beside_the_pictures(door):
    files = {
        "cat/a.jpg": png(),
        "cat/b.png": png(),
        "dog/c.png": png(),
        "masks/cat/a.png": png(1),
        "masks/dog/c.png": png(2),
    }
    found = annotations(door(files))
    assert {name: [p.read_bytes() for p in t.masks] for name, t in found.items()} == {
        "cat/a.jpg": [png(1)], "cat/b.png": [], "dog/c.png": [png(2)],
    }  # fmt: skip


def test_a_class_called_masks_is_a_class(door):
    assert door({**pictures("", hats=2), "masks/a.png": png(), "masks/of gold/b.png": png()}).classes == (
        "hats",
        "masks",
    )


def test_boxes_are_of_the_upright_picture(tmp_path):
    root = put(tmp_path, boxed(two_classes(), "cat/turned.jpg,0,0,4,9"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (10, 5)).save(root / "cat" / "turned.jpg", exif=exif)
    truth = annotations(read(root))["cat/turned.jpg"]
    assert (truth.size, truth.boxes) == ((5, 10), ((0, 0, 4, 9),))
