"""Errors as sentences for visitors: one line, without folders of the server."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from bsoftmax.utils.text import error_sentence, one_line

from ..language.visitor import translated

STUMBLED = "The server stumbled over this request: reload the page and try again."
REPOSITORY = Path(__file__).resolve().parents[2]
_ENDS = r"[^'\"\s,;:()]*"  # of a path in a sentence


def sentence(error: BaseException) -> str:
    """An error as one line in the visitor's language, with the folders of the server taken out of its paths."""
    return translated(without_folders(error_sentence(error)))


def without_folders(words: str) -> str:
    """A message as one line in which a path of the server is its last name."""
    return one_line(_paths().sub(lambda path: Path(path.group()).name, words))


def _paths() -> re.Pattern[str]:
    """Paths below the folders of temporary files, of this program, of its interpreter and of its user."""
    roots = {tempfile.gettempdir(), "/tmp", str(REPOSITORY), sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}
    return re.compile("|".join(re.escape(root) + _ENDS for root in sorted(roots, key=len, reverse=True)))
