"""The door for zips: what is refused, what is passed over, and that nothing is left behind."""

import errno
import io
import os
import random
import stat
import struct
import time
import zipfile
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from archives_made import png, two_classes, zip_of
from toys import refusal

from bsoftmax.data import archives, file_tree
from bsoftmax.data.archives import ArchiveError, unpack
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS, UNLIMITED
from bsoftmax.data.sets import DataError


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


def refused(path, work, limits=LIMITS, kind=ArchiveError):
    """The sentence, once it is certain that nothing is left of the attempt."""
    message = refusal(lambda: read_data(path, work, limits), kind)
    assert not work.exists() or list(work.iterdir()) == []
    return message


def reasons(path, work, limits=LIMITS):
    """What was passed over, of a zip with two honest classes besides."""
    data = read_data(path, work, limits)
    assert data.classes == ("cat", "dog")
    assert data.splits["all"].counts() == [2, 2]
    return {s.name: s.reason for s in data.skipped}


def honest_and(path, name, data=b"x", **attributes):
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return zip_of(path, [*two_classes().items(), (info, data)])


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


def bomb_picture(width):
    """A PNG of width x width pixels that says so and holds none."""
    header = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(4) + b"IDAT"
    )


@pytest.mark.parametrize(("width", "reason"), [(8_000, "it has 64 megapixels"), (30_000, "it has more pixels than")])
def test_a_picture_of_too_many_pixels_is_passed_over(tmp_path, work, width, reason):
    ((_, found),) = reasons(honest_and(tmp_path / "a.zip", "cat/x.png", bomb_picture(width)), work).items()
    assert found.startswith(reason)


def test_one_damaged_file_costs_only_itself(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {**two_classes(), "cat/x.png": png(40)}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(png(40)) + 60] ^= 0xFF
    path.write_bytes(raw)
    assert reasons(path, work) == {"cat/x.png": "it is damaged in the zip"}


def test_a_bomb_is_refused_unread(tmp_path, work):
    message = refused(honest_and(tmp_path / "a.zip", "cat/x.bmp", bytes(20_000_000), compress_type=8), work)
    assert "'cat/x.bmp' would unpack to more than 200 times its size" in message


def test_a_header_that_lies_about_the_size_does_not_get_its_bytes_through(tmp_path, work):
    path = honest_and(tmp_path / "a.zip", "cat/x.bmp", bytes(20_000_000), compress_type=8)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 20_000_000), struct.pack("<I", 5_000)))
    assert reasons(path, work) == {"cat/x.bmp": "it is damaged in the zip"}
    assert sum(p.stat().st_size for p in work.rglob("*") if p.is_file()) < 10_000


def test_the_whole_may_not_unpack_to_more_than_the_limit(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {**two_classes(), "cat/x.png": os.urandom(3000)})
    assert "at most 2 KB" in refused(path, work, replace(LIMITS, unpacked_bytes=2048))


def test_a_file_may_not_be_larger_than_the_limit(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {**two_classes(), "cat/x.png": os.urandom(3000)})
    assert reasons(path, work, replace(LIMITS, member_bytes=2048)) == {"cat/x.png": "it is larger than 2 KB"}


def test_a_class_lost_in_unpacking_is_missed_with_the_reason(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", {"cat/0.png": png(), "cat/1.png": png(1), "dog/0.png": os.urandom(3000)})
    message = refusal(lambda: read_data(path, work, replace(LIMITS, member_bytes=2048)), DataError)
    assert "only the class 'cat' ('dog/0.png' was passed over: it is larger than 2 KB)" in message


def test_the_zip_may_not_be_larger_than_the_limit(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    assert "at most 100 bytes" in refused(path, work, replace(LIMITS, zip_bytes=100))


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


def many(path, count, name):
    """A zip of many empty entries, its table of contents written by hand: zipfile would take minutes."""
    body, table = io.BytesIO(), io.BytesIO()
    for n in range(count):
        called = name(n).encode()
        fixed = struct.pack("<HHHHHIII", 20, 0, 0, 0, 0x21, 0, 0, 0)
        at = body.tell()
        body.write(b"PK\x03\x04" + fixed + struct.pack("<HH", len(called), 0) + called)
        table.write(
            b"PK\x01\x02" + struct.pack("<H", 20) + fixed + struct.pack("<HHHHHII", len(called), 0, 0, 0, 0, 0, at)
        )
        table.write(called)
    start, size = body.tell(), table.tell()
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    end64 += struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, min(count, 65535), min(count, 65535), size, start, 0)
    path.write_bytes(body.getvalue() + table.getvalue() + end64 + end)
    return path


def test_a_hundred_thousand_entries_are_refused_by_the_table_of_contents(tmp_path, work):
    path = many(tmp_path / "a.zip", 100_000, lambda n: f"cat/{n}.png")
    start = time.process_time()
    assert "at most 80,000 entries, found 100,000" in refused(path, work)
    assert time.process_time() - start < 5


def test_a_table_of_contents_too_large_is_not_even_read(tmp_path, work):
    path = many(tmp_path / "a.zip", 2000, lambda n: f"cat/{n}.png")
    assert "found far more" in refused(path, work, replace(LIMITS, directory_bytes=50_000))


def test_thirty_thousand_classes_are_refused_before_anything_is_unpacked(tmp_path, work, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(30_000):
            archive.writestr(zipfile.ZipInfo(f"class {n}/0.png"), b"x")
    monkeypatch.setattr(archives, "_inflate", lambda *a: pytest.fail("nothing may be unpacked"))
    start = time.process_time()
    message = refused(tmp_path / "a.zip", work, kind=DataError)
    assert "at most 1,000 class folders, found 30,000" in message
    assert time.process_time() - start < 5


def test_more_images_than_the_limit_are_refused_before_anything_is_unpacked(tmp_path, work, monkeypatch):
    monkeypatch.setattr(archives, "_inflate", lambda *a: pytest.fail("nothing may be unpacked"))
    path = zip_of(tmp_path / "a.zip", two_classes(count=4))
    assert "at most 7 images, found 8" in refused(path, work, replace(LIMITS, images=7), DataError)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, work, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_copy", full)
    assert "The disk is full" in refused(zip_of(tmp_path / "a.zip", two_classes()), work)


def test_too_little_room_is_seen_before_anything_is_written(tmp_path, work, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    monkeypatch.setattr(archives, "_inflate", lambda *a: pytest.fail("nothing may be unpacked"))
    assert "The disk is full" in refused(zip_of(tmp_path / "a.zip", two_classes()), work)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    path = zip_of(tmp_path / "a.zip", two_classes())
    assert "Could not write below" in refusal(lambda: read_data(path, tmp_path / "file" / "work"), ArchiveError)


def test_whoever_stops_the_unpacking_finds_nothing_of_it(tmp_path, work):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_data(zip_of(tmp_path / "a.zip", two_classes()), work, LIMITS, stop)
    assert list(work.iterdir()) == []


def test_what_a_killed_run_left_is_replaced_and_swept_away(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    read_data(path, work, LIMITS)
    (folder,) = work.iterdir()
    (folder / "manifest.json").unlink()  # as if its last file had never been written
    (folder / "000000.png").write_bytes(b"half")
    left = work / f"{folder.name}.0123.part"
    left.mkdir()
    os.utime(left, (0, 0))
    data = read_data(path, work, LIMITS)
    assert list(work.iterdir()) == [folder]
    assert data.splits["all"].paths[0].read_bytes() == two_classes()["cat/0.png"]


def test_two_that_unpack_at_once_do_not_hurt_each_other(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    other = []

    def meanwhile(done, total):
        if not other:
            other.append(None)
            other[0] = read_data(path, work, LIMITS)

    first = read_data(path, work, LIMITS, meanwhile)
    assert first.splits == other[0].splits
    assert len(list(work.iterdir())) == 1


def test_other_limits_are_another_folder(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    for limits in (LIMITS, UNLIMITED):
        unpack(path, work, limits)
    assert len(list(work.iterdir())) == 2


def test_a_draft_of_a_living_process_is_left_alone(tmp_path):
    draft = tmp_path / "set.0123.part"
    draft.mkdir()
    with file_tree.building(tmp_path / "set", ArchiveError) as folder:
        (folder / "manifest.json").write_text("{}")
    assert draft.is_dir()
    assert (tmp_path / "set" / "manifest.json").is_file()


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
