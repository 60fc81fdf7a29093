"""Text for messages: strings from users without control characters, and errors as sentences."""

from __future__ import annotations

import errno
import reprlib
import unicodedata

SENTENCE = 400  # characters of a message

_ADVICE = {  # what the system says of a file, in words, and what to do
    errno.ENOSPC: ("the disk is full", "free some space, or choose another folder"),
    errno.EDQUOT: ("the space allowed to you on the disk is used up", "free some space, or choose another folder"),
    errno.EFBIG: ("a file may not become as large as it would", "choose another folder, or make it smaller"),
    errno.EROFS: ("the disk can only be read", "choose a folder that can be written"),
    errno.EACCES: ("this program has no permission for it", "change its permissions, or choose another"),
    errno.EPERM: ("this program has no permission for it", "change its permissions, or choose another"),
    errno.ENAMETOOLONG: ("its name is too long for the system", "give it a shorter one"),
    errno.EEXIST: ("there is a file of that name already", "move it away, or choose another name"),
    errno.ENOTDIR: ("a file lies where a folder was expected", "move it away, or choose another name"),
    errno.EISDIR: ("it is a folder, and a file was expected", "name a file"),
    errno.ENOENT: ("there is no such file or folder", "check the name"),
    errno.ELOOP: ("its links lead in a circle", "name the file itself"),
    errno.EMFILE: ("too many files are open", "try again in a moment"),
    errno.EINVAL: ("the system does not take such a name or place", "check the name"),
}


def printable(name: str) -> str:
    """The name with control characters, text-direction overrides and lone surrogates replaced by U+FFFD."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _unprintable(c) else c for c in name)


def _unprintable(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"


def shortened(name: str, length: int = 80) -> str:
    """The printable name; the middle of a long one is left out."""
    if len(name) > length:
        name = f"{name[: length // 2 - 2]}...{name[len(name) - length // 2 + 1 :]}"
    return printable(name)


def quoted(value: object) -> str:
    """A value of others for a message, printable and shortened: a string in quotes, anything else as Python has it."""
    if not isinstance(value, str):
        return shortened(reprlib.repr(value))
    mark = '"' if "'" in value else "'"
    return f"{mark}{shortened(value)}{mark}"


def one_line(text: str, length: int = SENTENCE) -> str:
    """A message as one line of at most `length` characters."""
    return shortened(" ".join(text[: 8 * length].split()), length)


def error_sentence(error: BaseException) -> str:
    """An error for users as one line: the message of ours, or what the system says of a file and what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(str(error))
    found, advice = _ADVICE.get(error.errno or 0, (error.strerror.lower(), "check the file and its folder"))
    if not error.filename:
        return f"{found[0].upper()}{found[1:]}; {advice}."
    return f"{quoted(str(error.filename))} cannot be used: {found}; {advice}."
