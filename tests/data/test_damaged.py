"""Zips, lists and annotations of any kind are a data set or one sentence; nothing is written beside the folder."""

import json
import zipfile

from archives_made import png, put, two_classes, zip_of
from damaged import JSON, few, mutated, sentence
from hypothesis import example, given
from hypothesis import strategies as st

from bsoftmax.data.annotations import parse_csv, parse_voc, read_annotations
from bsoftmax.data.archives import unpack
from bsoftmax.data.file_tree import FileTree
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS
from bsoftmax.data.sets import DataError

SIZES = {"cat/0.png": (8, 8), "dog/0.png": (8, 8)}

# --- zips -------------------------------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    ["..", ".", "", "cat", "Cat", "CAT", "k\u00e4fer", "ka\u0308fer", "\u202egnp", "C:", "con", "x" * 300,
     "a\\b", "~", " ", "__x", ".git", "\U0001f600"]
)  # fmt: skip
NAMES = st.builds(
    lambda start, parts, last, end: start + "/".join([*parts, last]) + end,
    st.sampled_from(["", "/", "//", "\\", "C:\\", "./"]), st.lists(PARTS, max_size=4),
    st.sampled_from(["0", "1", "A", "a"]) | st.text(min_size=1, max_size=6),
    st.sampled_from([".png", ".PNG", ".txt", ".zip", "", "/", ".png/1.png"]),
)  # fmt: skip


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@few
@given(names=st.lists(NAMES, min_size=1, max_size=6))
@example(names=["../../../../x.png", "/etc/x.png", "cat/0.png", "CAT/0.png", "cat/0.png/1.png"])
@example(names=["x" * 300 + "/0.png"])  # longer than a name on a disk may be
def test_names_in_a_zip_lead_nowhere_but_into_its_folder(names, tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    place = root / "a" / "b" / "c"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        for n, name in enumerate(names):
            try:
                archive.writestr(zipfile.ZipInfo(name), png(seed=n % 3))
            except (UnicodeEncodeError, ValueError):  # no zip can have such a name
                continue
        written = archive.namelist()
    try:
        tree, skipped = unpack(place / "a.zip", place / "work", LIMITS)
    except DataError as error:
        sentence(error)
        tree, skipped = None, []
    inside = files_below(root)
    assert {name for name in inside if not name.startswith("a/b/c/work/")} == {"a/b/c/a.zip"}
    if tree is not None:
        named = {*tree.files, *tree.faults}
        assert all(path.is_file() and path.parent == tree.root for path in tree.files.values())
        assert sorted(tree.walk()) == sorted(named)
        assert len(named) + len(skipped) <= len(written)
        assert not any(".." in name.split("/") or name.startswith("/") for name in named)


ZIP = {}


def small_zip(tmp_path_factory):
    if not ZIP:
        folder = tmp_path_factory.mktemp("zip")
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            ZIP[method] = zip_of(folder / f"{method}.zip", two_classes(), method).read_bytes()
    return ZIP


@few
@given(data=st.data())
def test_a_damaged_zip_is_a_data_set_or_a_sentence(data, tmp_path_factory):
    valid = small_zip(tmp_path_factory)[data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.zip").write_bytes(data.draw(mutated(valid)))
    try:
        found = read_data(folder / "a.zip", folder / "work", LIMITS)
    except DataError as error:
        said = sentence(error)
        assert str(folder) not in said
    else:
        assert set(found.classes) <= {"cat", "dog"} or len(found.classes) >= 2
        assert all(path.is_file() for path in found.splits["all"].paths)
    assert {name for name in files_below(folder) if not name.startswith("work/")} == {"a.zip"}


# --- boxes ------------------------------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    ["cat/0.png", "", "0", "7", "-1", "3.5", "nan", "inf", "1e999", "9" * 400, "\u0663", "x", '"', "\0"]
)
LINES = st.lists(CELLS, max_size=6).map(",".join)


@few
@given(st.lists(LINES | st.just("path,x0,y0,x1,y1") | st.text(max_size=12), max_size=4).map("\n".join))
@example("path,x0,y0,x1,y1\ncat/0.png,1,2,3,4")
@example('path,x0,y0,x1,y1\n"' + "x" * 200_000)
def test_a_csv_is_boxes_or_a_sentence(text):
    try:
        rows = list(parse_csv("boxes.csv", text))
    except DataError as error:
        sentence(error)
        return
    for _, (x0, y0, x1, y1), where in rows:
        assert abs(x0) <= x1 or x0 <= x1
        assert y0 <= y1
        assert where.startswith("boxes.csv line ")
    if text == "path,x0,y0,x1,y1\ncat/0.png,1,2,3,4":
        assert rows == [("cat/0.png", (1, 2, 3, 4), "boxes.csv line 2")]


IDS = st.integers(0, 2) | JSON
IMAGES = st.fixed_dictionaries({"id": IDS, "file_name": st.sampled_from(sorted(SIZES)) | JSON})
BOXES = st.lists(st.integers(0, 9) | JSON, min_size=3, max_size=5)
BOXED = st.fixed_dictionaries({"image_id": IDS, "bbox": BOXES | JSON})
COCO = st.fixed_dictionaries({
    "images": st.lists(IMAGES, max_size=2) | JSON,
    "annotations": st.lists(BOXED | JSON, max_size=2) | JSON,
})  # fmt: skip


@few
@given(found=COCO | JSON)
@example(
    found={"images": [{"id": 1, "file_name": "cat/0.png"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}
)
@example(found={"images": [], "annotations": None})
@example(found={"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": [], "bbox": [1, 2, 3, 4]}]})
@example(
    found={
        "images": [{"id": 1, "file_name": "cat/0.png"}],
        "annotations": [{"image_id": 1, "bbox": [10**400, 2, 3, 4]}],
    }
)
@example(found={"images": [{"id": 1, "file_name": "cat/0.png"}], "annotations": [{"image_id": 1, "bbox": "1234"}]})
def test_a_coco_file_is_boxes_or_a_sentence(found, tmp_path):
    skipped = []
    (tmp_path / "boxes.json").write_text(json.dumps(found), encoding="utf-8")
    try:
        annotations = read_annotations(FileTree(tmp_path), SIZES, None, skipped)
    except DataError as error:
        sentence(error)
        return
    for annotation in annotations.values():
        assert all(0 <= x0 <= x1 <= 7 and 0 <= y0 <= y1 <= 7 for x0, y0, x1, y1 in annotation.boxes)
    if found == {
        "images": [{"id": 1, "file_name": "cat/0.png"}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}],
    }:
        assert annotations["cat/0.png"].boxes == ((1, 2, 3, 5),)


XML = (
    "<annotation><size><width>8</width><height>9</height></size><object><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
)
VALUES = st.sampled_from(
    ["", "0", "-5", "7", "7.5", "nan", "1e400", "9" * 5000, "<x/>", "\u0663", "&lt;", "&x;", "\ud800"]
)


@few
@given(st.lists(st.tuples(st.integers(0, 6), VALUES), max_size=3), mutated(XML.encode()), st.booleans())
@example([], XML.encode(), True)
@example([], b'<?xml version="1.0" encoding="nonsense"?>' + XML.encode(), True)
@example([], b'<?xml version="1.0" encoding="utf-16"?>' + XML.encode(), True)
@example([], b"<a>" * 100_000, True)
@example([], b"<a><size><width>-5</width><height>0</height></size></a>", True)
def test_an_xml_is_boxes_or_a_sentence(changes, damaged, by_bytes):
    text = damaged.decode("utf-8", "replace") if by_bytes else XML
    for n, value in [] if by_bytes else changes:
        places = ["<width>8<", "<height>9<", "<xmin>1<", "<ymin>2<", "<xmax>3<", "<ymax>4<", "</object>"]
        text = text.replace(places[n], places[n].split(">")[0] + ">" + value + "<")
    try:
        size, boxes = parse_voc("a.xml", text)
    except DataError as error:
        sentence(error)
        return
    assert min(size) > 0
    assert all(0 <= x0 <= x1 < size[0] and 0 <= y0 <= y1 < size[1] for x0, y0, x1, y1 in boxes)
    if text == XML:
        assert (size, boxes) == ((8, 9), ((1, 2, 3, 4),))


# --- lists ------------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["1", "2", "0", "-1", "999999999999", "9" * 5000, "a/0.png", "../../x.png", "\0", "x", "1.5", "nan", ""]
)
TEXT = st.lists(st.lists(WORDS, max_size=5), max_size=3)
LISTS = {
    "cub": (" ", ["images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt"]),
    "wsol": (",", [f"train/{name}.txt" for name in ("image_ids", "class_labels", "image_sizes", "localization")]),
}
HONEST = {
    "cub": {
        "images.txt": "1 a/0.png\n2 a/0.png", "image_class_labels.txt": "1 1\n2 2", "train_test_split.txt": "1 1\n2 0",
        "bounding_boxes.txt": "1 1 1 3 3", "classes.txt": "1 a\n2 b",
    },
    "wsol": {
        "train/image_ids.txt": "a/0.png", "train/class_labels.txt": "a/0.png,1", "train/image_sizes.txt": "a/0.png,8,8",
        "train/localization.txt": "a/0.png,1,1,3,3",
    },
}  # fmt: skip


@few
@given(layout=st.sampled_from(sorted(LISTS)), changed=st.integers(0, 4), lines=TEXT)
@example(layout="wsol", changed=1, lines=[["a/0.png", "999999999999"]])
@example(layout="cub", changed=1, lines=[["1", "999999999999"], ["2", "1"]])
@example(layout="cub", changed=9, lines=[])
def test_lists_of_a_benchmark_are_a_data_set_or_a_sentence(layout, changed, lines, tmp_path_factory):
    mark, names = LISTS[layout]
    texts = dict(HONEST[layout])
    if changed < len(names):
        texts[names[changed]] = "\n".join(mark.join(line) for line in lines)
    folder = tmp_path_factory.mktemp("lists")
    put(folder, {**{name: text.encode() for name, text in texts.items()}, "images/a/0.png": png()})
    try:
        found = read_data(folder, folder / "work")
    except DataError as error:
        sentence(error)
        return
    assert found.layout in ("cub", "wsol", "folders")
    if changed >= len(names):
        assert found.layout == layout
    assert len(found.classes) < 1000
