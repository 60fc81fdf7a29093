"""Files whole or not at all, and their hashes."""

from __future__ import annotations

import pytest

from bsoftmax.utils import files


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.file_hash(tmp_path / "f") == expected
    with open(tmp_path / "f", "rb") as file:
        assert files._digest(file) == expected  # what Python 3.10 uses


def broken_off(write):
    with pytest.raises(KeyboardInterrupt):
        write()


@pytest.mark.parametrize("write", ["atomic_path", "atomic_open", "write_text"])
def test_a_file_is_the_old_one_or_the_new_one(write, tmp_path, monkeypatch):
    path = tmp_path / "f.txt"

    def put(text):
        if write == "write_text":
            files.write_text(path, text)
        elif write == "atomic_open":
            with files.atomic_open(path) as file:
                file.write(text.encode())
        else:
            with files.atomic_path(path) as name, open(name, "w") as file:
                file.write(text)

    def killed(*_):
        raise KeyboardInterrupt

    put("old")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(files.os, step, killed)
            broken_off(lambda: put("new"))
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("f.txt", "old")]
    put("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("f.txt", "new")]


@pytest.mark.parametrize("opened", [files.atomic_path, files.atomic_open])
def test_an_error_inside_leaves_nothing(opened, tmp_path):
    def write():
        with opened(tmp_path / "f") as part:
            assert len(list(tmp_path.iterdir())) == 1  # beside the file to be: one file system, one step
            assert not (tmp_path / "f").exists()
            assert part
            raise KeyboardInterrupt

    broken_off(write)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_or_missed_and_the_file_is_for_others_too(tmp_path):
    path = files.write_text(tmp_path / "a" / "b" / "f", "ü")
    assert path.read_bytes() == "ü".encode()
    assert oct(path.stat().st_mode & 0o777) == "0o644"
    with (
        pytest.raises(ValueError, match=r"^There is no folder .*absent.* to write 'f' into\.$"),
        files.atomic_open(tmp_path / "absent" / "f"),
    ):
        pass


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "f").write_text("in the way")
    with pytest.raises(OSError, match="f"):
        files.write_text(tmp_path / "f" / "g", "")


def test_two_writers_do_not_share_a_draft(tmp_path):
    with files.atomic_path(tmp_path / "f") as one, files.atomic_path(tmp_path / "f") as other:
        assert one != other
        for name, text in ((one, "one"), (other, "other")):
            with open(name, "w") as file:
                file.write(text)
    assert (tmp_path / "f").read_text() == "one"  # its block ended last
    assert len(list(tmp_path.iterdir())) == 1
