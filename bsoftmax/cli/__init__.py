"""The command line: one module for each command, one parser, and what they share.

A command reads its options, calls the library, prints what it made and where. May import every other package of the
library; nothing but `python -m bsoftmax` imports it.
"""

from .main import COMMANDS, main, parser

__all__ = ["COMMANDS", "main", "parser"]
