"""Names from users in messages: nothing in them acts, long ones lose their middle."""

from __future__ import annotations

import pytest

from bsoftmax.utils.text import printable, quoted, shortened


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("lion.jpg", "lion.jpg"),
        ("naïve 漢字 🦁", "naïve 漢字 🦁"),
        ("a\nb\tc\x00d\x1b[31me\x7f", "a\ufffdb\ufffdc\ufffdd\ufffd[31me\ufffd"),
        ("gpj.\u202enoil\u2066", "gpj.\ufffdnoil\ufffd"),  # would be read from right to left
        ("\udcff", "\ufffd"),  # a byte of a file name that is no UTF-8
        ("", ""),
    ],
)
def test_what_would_act_is_replaced(name, seen):
    assert printable(name) == seen
    assert printable(seen) == seen
    assert shortened(name) == seen
    printable(name).encode()


def test_a_long_name_keeps_both_ends():
    name = "".join(chr(0x4E00 + n) for n in range(200))
    assert shortened(name[:80]) == name[:80]
    assert shortened(name[:81]) == f"{name[:40]}...{name[41:81]}"
    assert shortened(name) == f"{name[:40]}...{name[-40:]}"
    assert shortened(name, 10) == f"{name[:5]}...{name[-5:]}"


def test_what_is_quoted_is_one_line_in_quotes():
    assert quoted("a b") == "'a b'"
    assert quoted("it's") == '"it\'s"'
    assert quoted("x\n" * 300) == repr(shortened("x\n" * 300))
    assert len(quoted("x\n" * 300)) < 100
