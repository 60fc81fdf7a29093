"""Names from users in messages: nothing in them acts, long ones lose their middle."""

from __future__ import annotations

import errno
import os

import pytest

from bsoftmax.utils.text import error_sentence, one_line, printable, quoted, shortened


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
    assert shortened(name[:81]) == f"{name[:38]}...{name[42:81]}"
    assert shortened(name) == f"{name[:38]}...{name[-39:]}"
    assert len(shortened("x" * 10_000_000)) == 80
    assert shortened(name, 10) == f"{name[:3]}...{name[-4:]}"


def test_what_is_quoted_is_one_line_in_quotes():
    assert quoted("a b") == "'a b'"
    assert quoted("it's") == '"it\'s"'
    assert quoted("x\n" * 300) == repr(shortened("x\n" * 300))
    assert len(quoted("x\n" * 300)) == 82
    assert len(quoted("\\" * 300)) == 82


@pytest.mark.parametrize(
    "value", [None, 3, 1e39, ["a" * 10**7], {"a": [[[[]]]]}, list(range(10_000)), float("nan"), True, b"x" * 10**7]
)
def test_a_value_that_is_no_string_is_quoted_in_80_characters(value):
    assert 0 < len(quoted(value)) <= 80


@pytest.mark.parametrize("name", ["ENOSPC", "EFBIG", "EROFS", "EACCES", "ENAMETOOLONG", "EEXIST", "ENOENT", "ELIBBAD"])
def test_what_the_system_says_becomes_a_sentence(name):
    number = getattr(errno, name)
    for error in (OSError(number, os.strerror(number)), OSError(number, os.strerror(number), "a" * 5000)):
        said = error_sentence(error)
        assert "Errno" not in said
        assert "\n" not in said
        assert len(said) <= 400
        assert said.endswith(".")
        assert "; " in said  # what was found, and what to do


def test_a_message_becomes_one_line():
    assert one_line("a\n b\t c") == "a b c"
    assert len(one_line("x y " * 10**6)) == 400
    assert error_sentence(ValueError("a\nb")) == "a b"
