"""What the bundled model answers on the validation photographs of wild20, recorded image by image.

All 4,242 take the trunk minutes: `python tests/wild20.py` does it once for a new model, tests look at a few again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from paths import DATA, TESTS
from torch import Tensor

from bsoftmax.data.sets import ImageSet, read_class_folders
from bsoftmax.models import zoo
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.training.feature_cache import features
from bsoftmax.utils.files import file_hash, write_text

RECORD = TESTS / "models" / "wild20_val.json"
VAL = DATA / "wild20" / "val"
HEADS = ("softmax", "sigmoid")


def answers(model: DualBranch, images: ImageSet, cache: Path, precision: str = "auto") -> dict[str, Tensor]:
    """The class with the largest logit, of each head for each image."""
    h = features(model, images, cache, precision=precision).take(torch.arange(len(images)))
    return {head: model.classifier(head)(h).argmax(1) for head in HEADS}


def recorded() -> tuple[dict[str, str], dict[str, Tensor]]:
    """What the record is of, and its answers: a letter for each image."""
    found = json.loads(RECORD.read_text())
    return found, {head: torch.tensor([ord(letter) - ord("a") for letter in found[head]]) for head in HEADS}


def record() -> None:
    images = read_class_folders(VAL)
    with tempfile.TemporaryDirectory() as cache:
        found = answers(zoo.open_model("wild20"), images, Path(cache), "float32")
    letters = {head: "".join(chr(ord("a") + k) for k in found[head].tolist()) for head in HEADS}
    said = {"model": file_hash(zoo.bundled()["wild20"]), "images": images.fingerprint()}
    write_text(RECORD, json.dumps(said | letters, indent=1) + "\n")


if __name__ == "__main__":
    record()
