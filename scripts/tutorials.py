"""Runs the code of docs/tutorials and writes what it prints below it: python scripts/tutorials.py

A block of `python` is run in its page's namespace, every line of a block of `bash` is a command; the block of `text`
behind either is what it printed. The pages share one folder, which is empty at the beginning, and run in their order.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bsoftmax.cli.main import main as bsoftmax

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
PAGES = ("explain", "distort", "train", "evaluate", "own_network", "scale_out")
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```\n(?:\n```text\n.*?^```\n)?", re.M | re.S)
HASH = re.compile(r"\b[0-9a-f]{64}\b")  # of weights, which differ in the last bit from machine to machine
Programs = Mapping[str, Callable[[Sequence[str]], str]]


def printed(call: Callable[[], object]) -> str:
    """What a call prints; not its progress, which goes to stderr."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        call()
    return out.getvalue()


def torchrun(words: Sequence[str]) -> str:
    """What the program of that name prints."""
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout


PROGRAMS: Programs = {"bsoftmax": lambda words: printed(lambda: bsoftmax(words)), "torchrun": torchrun}


def executed(page: str, programs: Programs = PROGRAMS) -> str:
    """The page with the output of its code. Raises whatever the code does."""
    names: dict[str, object] = {}

    def run(block: re.Match[str]) -> str:
        language, code = block[1], block[2]
        if language == "python":
            out = printed(lambda: exec(compile(code, "tutorial", "exec"), names))
        else:
            commands = [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]
            out = "".join(programs[words[0]](words[1:]) for words in commands if words)
        out = HASH.sub("...", out).strip()
        return f"```{language}\n{code}```\n" + (f"\n```text\n{out}\n```\n" if out else "")

    return BLOCK.sub(run, page)


def main() -> None:
    """Writes every page again."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["BSOFTMAX_CACHE"] = f"{folder}/cache"
        for name in PAGES:
            path = FOLDER / f"{name}.md"
            path.write_text(executed(path.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
