"""Files whole or not at all, and their hashes."""

from __future__ import annotations

from bsoftmax.utils import files


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.file_hash(tmp_path / "f") == expected
    with open(tmp_path / "f", "rb") as file:
        assert files._digest(file) == expected  # what Python 3.10 uses
