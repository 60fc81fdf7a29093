"""Writes checkpoints/breaking.json: where half of the boxes of every bundled model break on its validation photographs.

    python scripts/breaking.py ../shared/data

Both models are judged on wild20/val, whose photographs neither trunk nor softmax head was trained on; no box is read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bsoftmax.cams.breaking import breaking
from bsoftmax.cams.methods import default
from bsoftmax.data.layouts import read_data
from bsoftmax.models import zoo
from bsoftmax.models.bundled import CHECKPOINTS
from bsoftmax.training.validation import evenly, views
from bsoftmax.utils.files import write_text

IMAGES = 64


def main() -> None:
    """Measures every bundled model and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds wild20")
    images = read_data(str(parser.parse_args().data / "wild20"), Path("cache")).splits["val"]
    index = evenly(torch.arange(len(images)), IMAGES)
    torch.set_num_threads(1)
    found = {}
    for name in zoo.bundled():
        model = zoo.open_model(name)
        found[name] = breaking(views(model, images, index), default(model))
        print(name, found[name], flush=True)
    write_text(CHECKPOINTS / "breaking.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
