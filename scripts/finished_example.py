"""Makes the finished example of the page's Train and Evaluate tabs: python scripts/finished_example.py [FOLDER]

Draws the sample set, trains on it and evaluates what was trained, all with the defaults of the command line, and keeps
what the tabs show of it in demo/static/guide. What FOLDER holds of these results already is not made again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bsoftmax import open_model
from demo.evaluate.results import Evaluation
from demo.train.results import Results

OUT = Path(__file__).resolve().parents[1] / "demo" / "static" / "guide"
COMMANDS = {  # what it writes -> its words
    "sample": ("sample", "sample"),
    "sample.safetensors": ("train", "sample", "--classes", "own", "--out", "sample.safetensors"),
    "evaluation": ("evaluate", "sample", "--model", "sample.safetensors", "--out", "evaluation"),
}


def main(folder: Path) -> None:
    """Writes example.json, the blocks of both reports, and forest.svg."""
    for made, words in COMMANDS.items():
        if not (folder / made).exists():
            subprocess.run([sys.executable, "-m", "bsoftmax", *words], cwd=folder, check=True)
    val = open_model(str(folder / "sample.safetensors")).spec.metrics["val"]
    blocks = {
        "train": Results.read(folder / "sample.json").blocks(val),
        "evaluate": Evaluation.read(folder / "evaluation" / "results.json").summary(),
    }
    (OUT / "example.json").write_text(json.dumps(blocks, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(folder / "evaluation" / "forest.svg", OUT / "forest.svg")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
