"""Zips of strangers: false sizes, lists that lead out, damage after unpacking; no folder of ours is told."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from io import BytesIO

import pytest
from PIL import Image
from toys import refusal

from bsoftmax.data.layouts import read_data


def picture(shade=0):
    out = BytesIO()
    Image.new("RGB", (20, 20), (shade, 90, 0)).save(out, "png")
    return out.getvalue()


def zipped(path, names, content=None):
    with zipfile.ZipFile(path, "w") as archive:
        for n, name in enumerate(names):
            archive.writestr(name, (content or {}).get(name, picture(n)))
    return path


CLASSES = [f"{name}/{n}.png" for name in ("cat", "dog") for n in range(3)]


PLACES = {"size": 24, "offset": 42}  # of a field in an entry of the central directory


def zip64(field):
    """Puts nearly 4 GB into a field of every entry's central directory."""

    def change(data):
        at, out = data.index(b"PK\x01\x02"), bytearray(data)
        while data[at : at + 4] == b"PK\x01\x02":
            name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
            struct.pack_into("<L", out, at + PLACES[field], 2**32 - 2)
            at += 46 + name + extra + comment
        return bytes(out)

    return change


DAMAGE = {
    "a false size of every entry": zip64("size"),
    "a false place": zip64("offset"),
    "a false place of the directory": lambda data: data[:-6] + struct.pack("<L", 2**31) + data[-2:],
    "a false length of the directory": lambda data: data[:-10] + struct.pack("<L", 2**32 - 2) + data[-6:],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "nothing": lambda data: b"",
    "a text": lambda data: b"not a zip at all",
    "a zip64 end that is not there": lambda data: data[:-22] + b"PK\x06\x07" + b"\xff" * 16 + data[-22:],
    "a zip64 end of huge numbers": lambda data: b"".join(
        (data[:-22], b"PK\x06\x06" + b"\xff" * 52, b"PK\x06\x07", struct.pack("<LQL", 0, len(data) - 22, 1), data[-22:])
    ),
}  # fmt: skip


def says_nothing_of_ours(said, tmp_path):
    assert len(said) <= 400
    for word in (str(tmp_path), "/tmp", "Errno", "written", "Traceback"):
        assert word not in said


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_zip_is_one_sentence_about_the_zip(name, tmp_path):
    path = zipped(tmp_path / "a.zip", CLASSES)
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    says_nothing_of_ours(refusal(lambda: read_data(path, tmp_path / "work")), tmp_path)


OUT = ("../../../../etc/passwd", "/etc/passwd", "a/../../b.png", "..\\..\\b.png", "C:\\b.png", "\0.png", "x" * 5000)


def lists(layout, name):
    if layout == "cub":
        return {
            "images.txt": f"1 {name}\n2 {name}\n", "image_class_labels.txt": "1 1\n2 2\n",
            "train_test_split.txt": "1 1\n2 1\n", "classes.txt": f"1 {'c' * 100_000}\n2 b\n",
        }  # fmt: skip
    return {
        "train/image_ids.txt": f"{name}\n", "train/class_labels.txt": f"{name},0\n",
        "val/image_ids.txt": f"{name}\n", "val/class_labels.txt": f"{name},1\n", "classes.txt": f"{'c' * 100_000}\nb\n",
    }  # fmt: skip


@pytest.mark.parametrize("name", OUT, ids=lambda name: repr(name[:12]))
@pytest.mark.parametrize("layout", ["cub", "wsol"])
def test_lists_that_lead_out_of_the_zip_find_nothing(layout, name, tmp_path):
    texts = lists(layout, name)
    path = zipped(tmp_path / "a.zip", [*texts, "images/a.png"], {**texts, "images/a.png": picture()})
    said = refusal(lambda: read_data(path, tmp_path / "work"))
    says_nothing_of_ours(said, tmp_path)
    assert "c" * 81 not in said


def unpacked(tmp_path):
    (manifest,) = (tmp_path / "work").glob("*/manifest.json")
    return manifest


SPOILED = {
    "a cut-off manifest": lambda m: m.write_text(m.read_text()[:40]),
    "an empty manifest": lambda m: m.write_text(""),
    "a manifest of another kind": lambda m: m.write_text("[]"),
    "a manifest without its parts": lambda m: m.write_text('{"files": []}'),
    "a manifest of files that are not there": lambda m: m.write_text(
        json.dumps({**json.loads(m.read_text()), "files": [["cat/0.png", "999999.png", [1, 1]]]})
    ),
    "a picture removed": lambda m: next(m.parent.glob("*.png")).unlink(),
    "all removed": lambda m: shutil.rmtree(m.parent),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_was_unpacked_and_then_damaged_is_unpacked_again(name, tmp_path, caplog):
    path = zipped(tmp_path / "a.zip", CLASSES)
    first = read_data(path, tmp_path / "work")
    SPOILED[name](unpacked(tmp_path))
    again = read_data(path, tmp_path / "work")
    assert again == first
    assert all(path.is_file() for path in again.splits["all"].paths)
    assert ("unpacked again" in caplog.text) == (name != "all removed")
