"""The door for zips: what is unpacked, what is passed over, and what is refused."""

import os
import random
import stat
import zipfile
from dataclasses import replace

import pytest
from archives_made import png, two_classes, zip_of
from toys import refusal
from unpacked import honest_and, reasons, refused

from bsoftmax.data.archives import unpack
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS, UNLIMITED
from bsoftmax.data.sets import DataError


def test_an_honest_zip_lies_on_disk_under_numbers_and_is_unpacked_once(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes("my pets/"))
    first = read_data(path, work, LIMITS).splits["all"]
    (folder,) = work.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{n:06d}.png" for n in range(4)), "manifest.json"]
    assert [first.name(n) for n in range(4)] == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert [p.read_bytes() for p in first.paths] == list(two_classes().values())
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert read_data(path, work, LIMITS).splits["all"] == first
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_progress_counts_members(tmp_path, work):
    ticks = []
    unpack(zip_of(tmp_path / "a.zip", two_classes()), work, tick=lambda *t: ticks.append(t))
    assert ticks == [(n, 4) for n in range(1, 5)]


@pytest.mark.parametrize("name", ["../up.png", "cat/../../up.png", "/abs.png", "C:/win.png", "..\\up.png", "C:\\a.png"])
def test_paths_out_of_the_zip_are_passed_over(tmp_path, work, name):
    (reason,) = reasons(honest_and(tmp_path / "a.zip", name, png()), work).values()
    assert reason == "its path leads out of the zip"
    assert not list(tmp_path.rglob("up.png"))


def test_backslashes_are_slashes(tmp_path, work):
    files = {name.replace("/", "\\"): data for name, data in two_classes().items()}
    assert read_data(zip_of(tmp_path / "a.zip", files), work).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("mode", "reason"), [(stat.S_IFLNK | 0o777, "it is a link"), (stat.S_IFIFO | 0o644, "it is no ordinary file")]
)
def test_links_and_devices_are_passed_over(tmp_path, work, mode, reason):
    path = honest_and(tmp_path / "a.zip", "cat/x.png", b"/etc/passwd", external_attr=mode << 16, create_system=3)
    assert reasons(path, work) == {"cat/x.png": reason}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("cat/inner.zip", png(), "an archive inside the zip is not opened"),
        ("cat/inner.tar.gz", png(), "an archive inside the zip is not opened"),
        ("cat/report.pdf", b"%PDF", "it is not a picture"),
        ("cat/empty.png", b"", "it is empty"),
        ("cat/text.png", b"no picture", "it is damaged or not an image"),
        ("/".join(["cat", *"abcdefghijklmnopqrst", "x.png"]), png(), "it lies more than 20 folders deep"),
        ("loose.png", png(), "it lies beside the class folders, not in one"),
    ],
)
def test_what_cannot_be_used_is_passed_over_with_a_reason(tmp_path, work, name, data, reason):
    ((shown, found),) = reasons(honest_and(tmp_path / "a.zip", name, data), work).items()
    assert shown == name
    assert found.startswith(reason)


def test_a_name_too_long_is_shown_shortened(tmp_path, work):
    ((shown, reason),) = reasons(honest_and(tmp_path / "a.zip", f"cat/{'n' * 600}.png", png()), work).items()
    assert reason == "its name is longer than 500 characters"
    assert len(shown) < 100


def test_a_second_file_of_the_same_name_is_passed_over(tmp_path, work):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zip_of(tmp_path / "a.zip", [*two_classes().items(), ("cat/0.png", png(seed=99))])
    data = read_data(path, work)
    assert data.splits["all"].paths[0].read_bytes() == two_classes()["cat/0.png"]
    assert [tuple(s) for s in data.skipped] == [("cat/0.png", "its name is in the zip twice")]


def test_what_systems_leave_in_zips_is_not_even_mentioned(tmp_path, work):
    litter = ["__MACOSX/cat/._0.png", "cat/.DS_Store", ".DS_Store", "cat/Thumbs.db", "dog/desktop.ini", ".git/x.png"]
    path = zip_of(tmp_path / "a.zip", [*two_classes().items(), *((name, png()) for name in litter)])
    assert reasons(path, work) == {}


def test_one_damaged_file_costs_only_itself(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {**two_classes(), "cat/x.png": png(40)}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(png(40)) + 60] ^= 0xFF
    path.write_bytes(raw)
    assert reasons(path, work) == {"cat/x.png": "it is damaged in the zip"}


def test_a_class_lost_in_unpacking_is_missed_with_the_reason(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {"cat/0.png": png(), "cat/1.png": png(1), "dog/0.png": os.urandom(3000)})
    message = refusal(lambda: read_data(path, work, replace(LIMITS, member_bytes=2048)), DataError)
    assert "only the class 'cat' ('dog/0.png' was passed over: it is larger than 2 KB)" in message


def test_an_encrypted_zip_is_refused(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    path.write_bytes(raw)
    assert "password" in refused(path, work)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, work, method):
    message = refused(zip_of(tmp_path / "a.zip", two_classes(), method), work)
    assert f"other than Deflate (number {method})" in message


def test_a_method_that_nobody_knows_is_refused(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 10] = 9
    path.write_bytes(raw)
    assert "number 9" in refused(path, work)


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all" * 100, png()])
def test_what_is_no_zip_is_refused(tmp_path, work, data):
    (tmp_path / "a.zip").write_bytes(data)
    assert "'a.zip' is not a zip, or was cut off" in refused(tmp_path / "a.zip", work)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_a_zip_cut_off_is_refused(tmp_path, work, keep):
    path = zip_of(tmp_path / "a.zip", two_classes(count=20))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    assert "cut off" in refused(path, work)


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_ends_in_anything_but_a_sentence_or_a_set(tmp_path, work, seed):
    path, rng = zip_of(tmp_path / "a.zip", two_classes(count=3)), random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(12):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    path.write_bytes(raw)
    message, found = "", []
    try:
        found = read_data(path, work, LIMITS).splits["all"]
    except DataError as error:
        message = str(error)
    assert bool(message) != bool(len(found))
    assert not message or (message.endswith(".") and len(message) < 500)
    assert all((folder / "manifest.json").is_file() for folder in work.iterdir())


def test_other_limits_are_another_folder(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    for limits in (LIMITS, UNLIMITED):
        unpack(path, work, limits)
    assert len(list(work.iterdir())) == 2


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "The zip holds no pictures: put"),
        ({"all.zip": png()}, "('all.zip' was passed over: an archive inside the zip is not opened)"),
        ({"../cat/a.png": png()}, "('../cat/a.png' was passed over: its path leads out of the zip)"),
        ({"__MACOSX/._a.png": png()}, "The zip holds no pictures: put"),
    ],
)
def test_a_zip_without_anything_to_use(tmp_path, work, files, words):
    assert words in refused(zip_of(tmp_path / "a.zip", files), work)


def test_a_zip_that_is_not_there_or_not_for_us(tmp_path, work):
    assert "There is no folder or zip" in refused(tmp_path / "none.zip", work, kind=DataError)
