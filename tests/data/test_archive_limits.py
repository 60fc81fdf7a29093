"""Bombs, crowds and full disks: what a zip may not cost, and that nothing is left behind."""

import errno
import os
import struct
import zipfile
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from archives_made import two_classes, zip_of
from toys import refusal
from unpacked import honest_and, many, reasons, refused

from bsoftmax.data import archives, file_tree
from bsoftmax.data.archives import ArchiveError
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS
from bsoftmax.data.sets import DataError


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


def test_the_zip_may_not_be_larger_than_the_limit(tmp_path, work):
    path = zip_of(tmp_path / "a.zip", two_classes())
    assert "at most 100 bytes" in refused(path, work, replace(LIMITS, zip_bytes=100))


def test_a_hundred_thousand_entries_are_refused_by_the_table_of_contents(tmp_path, work, monkeypatch):
    path = many(tmp_path / "a.zip", 100_000, lambda n: f"cat/{n}.png")
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *a: pytest.fail("no entry may be parsed"))
    assert "at most 80,000 entries, found 100,000" in refused(path, work)


def test_a_table_of_contents_too_large_is_not_even_read(tmp_path, work):
    path = many(tmp_path / "a.zip", 2000, lambda n: f"cat/{n}.png")
    assert "found far more" in refused(path, work, replace(LIMITS, directory_bytes=50_000))


def test_thirty_thousand_classes_are_refused_before_anything_is_unpacked(tmp_path, work, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for n in range(30_000):
            archive.writestr(zipfile.ZipInfo(f"class {n}/0.png"), b"x")
    monkeypatch.setattr(archives, "_inflate", lambda *a: pytest.fail("nothing may be unpacked"))
    message = refused(tmp_path / "a.zip", work, kind=DataError)
    assert "at most 1,000 class folders, found 30,000" in message


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
    assert "Nothing can be written" in refusal(lambda: read_data(path, tmp_path / "file" / "work"), ArchiveError)


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


def test_a_draft_of_a_living_process_is_left_alone(tmp_path):
    draft = tmp_path / "set.0123.part"
    draft.mkdir()
    with file_tree.atomic_folder(tmp_path / "set", ArchiveError) as folder:
        (folder / "manifest.json").write_text("{}")
    assert draft.is_dir()
    assert (tmp_path / "set" / "manifest.json").is_file()
