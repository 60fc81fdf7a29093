"""Do the requirements resolve, install and run, for every Python and torch that the project supports?

    python -m pip install uv && python scripts/matrix.py      # resolves all pairs
    python scripts/matrix.py --python 3.11 --torch 2.9 --try  # besides, a fresh venv: install, open the page, explain
    python scripts/matrix.py --python 3.11 --torch 2.9 --try --tests tests/models tests/cams

Resolving asks the registry for wheels for that Python on Linux (x86_64), whichever Python runs this script. uv reads
their metadata alone, where pip downloads gigabytes. A pair is tried, with pip, where its interpreter (`python3.11`)
is on this machine. Prints a line of JSON for each pair, then a table; exit code 1 when a pair that the registry offers
fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
OLDEST = (2, 8)  # torch
SHOWN = ("torch", "torchvision", "gradio", "timm", "numpy", "pillow", "huggingface-hub")
NOT_OFFERED = re.compile(r"torch==\S+ has no wheels with a matching Python")
AT_ONCE = 8  # most of the time is spent waiting for the registry
SMOKE = """
import gradio as gr, numpy as np, torch, torchvision
from bsoftmax.cli import main
from demo.app.layout import build_app
from demo.server.session import Session
assert main(["explain", gr.get_image("lion.jpg"), "--out", "maps.npz"]) == 0
assert all(np.isfinite(np.asarray(v)).all() for v in np.load("maps.npz").values() if v.dtype.kind == "f")
build_app(Session())
print(torch.__version__, torchvision.__version__)
"""


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command's result, its output as text."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def minors() -> list[str]:
    """The releases of torch, as "2.8", from the oldest supported to the newest that the registry has."""
    uncapped = {**os.environ, "PIP_CONFIG_FILE": os.devnull}  # pip's configuration may hold a newer one back
    found = run(sys.executable, "-m", "pip", "index", "versions", "torch", env=uncapped)
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"\b(\d+\.\d+)\.\d+", found.stdout.partition(":")[2])}
    return [f"{major}.{minor}" for major, minor in sorted(versions) if (major, minor) >= OLDEST]


def resolved(python: str, torch: str, requirements: str) -> dict[str, Any]:
    """What would be installed for one pair."""
    done = run(
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--python-version", python,
        "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:", "-",
        input=f"-r {ROOT / requirements}\ntorch=={torch}.*\n",
    )  # fmt: skip
    if done.returncode:
        why = " ".join(done.stderr.split())[:400]
        return {"resolves": "not offered" if NOT_OFFERED.search(why) else "conflict", "why": why}
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.M))
    return {"resolves": "yes", "packages": len(versions), **{name: versions.get(name) for name in SHOWN}}


def tried(python: str, torch: str, tests: list[str]) -> dict[str, Any]:
    """Installs a pair into a fresh venv, explains a photograph, builds the page, runs tests; the venv goes again."""
    interpreter = shutil.which(f"python{python}")
    if not interpreter:
        return {"tried": f"no python{python} here"}
    with tempfile.TemporaryDirectory(prefix="bsoftmax-matrix-") as folder:
        venv, environment = str(Path(folder) / "venv" / "bin" / "python"), {**os.environ, "PYTHONPATH": str(ROOT)}
        requirements = "requirements-dev.txt" if tests else "requirements.txt"
        steps = [
            ("venv", [interpreter, "-m", "venv", str(Path(folder) / "venv")], folder),
            ("install", [venv, "-m", "pip", "install", "--quiet", "-r", str(ROOT / requirements), f"torch=={torch}.*"],
             folder),
            ("smoke", [venv, "-c", SMOKE], folder),
        ]  # fmt: skip
        if tests:
            steps.append(("tests", [venv, "-m", "pytest", "-n0", "-q", *tests], str(ROOT)))
        out: dict[str, Any] = {}
        for name, command, cwd in steps:
            done = run(*command, cwd=cwd, env=environment)
            out[name] = (done.stdout.strip().splitlines() or ["done"])[-1]
            if done.returncode:
                return {**out, "tried": f"failed at {name}", "why": (done.stdout + done.stderr)[-2000:]}
        return {**out, "tried": "yes"}


def main() -> int:
    """Prints a line for each pair, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="X.Y")
    parser.add_argument("--torch", nargs="+", default=None, metavar="X.Y", help="default: every one from 2.8")
    parser.add_argument("--requirements", default="requirements.txt")
    parser.add_argument("--try", action="store_true", dest="trial", help="besides, install and run, in a fresh venv")
    parser.add_argument("--tests", nargs="+", default=[], help="besides, run these tests there")
    options = parser.parse_args()
    releases, rows = options.torch or minors(), {}
    pairs = [(python, torch) for python in options.python for torch in releases]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda pair: resolved(*pair, options.requirements), pairs)
        for (python, torch), answer in zip(pairs, answers):
            row = {"python": python, "torch asked": torch, **answer}
            if options.trial and row["resolves"] == "yes":
                row |= tried(python, torch, options.tests)
            rows[python, torch] = row
            print(json.dumps(row), flush=True)
    print(f"\n| Python | {' | '.join(f'torch {torch}' for torch in releases)} |\n|---|{'---|' * len(releases)}")
    for python in options.python:
        cells = (rows[python, torch] for torch in releases)
        print(f"| {python} | {' | '.join(cell.get('torch') or cell['resolves'] for cell in cells)} |")
    bad = any(row["resolves"] == "conflict" or "failed" in row.get("tried", "") for row in rows.values())
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
