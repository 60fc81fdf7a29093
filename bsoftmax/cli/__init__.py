"""The command line: a parser, a module for each command, and the helpers they share.

May import every other package of the library; only `python -m bsoftmax` imports it.
"""

from .main import COMMANDS, main, parser

__all__ = ["COMMANDS", "main", "parser"]
