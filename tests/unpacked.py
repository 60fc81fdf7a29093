"""Zips tried as the door for zips sees them."""

import io
import struct
import zipfile

from archives_made import two_classes, zip_of
from toys import refusal

from bsoftmax.data.archives import ArchiveError
from bsoftmax.data.layouts import read_data
from bsoftmax.data.limits import LIMITS


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
