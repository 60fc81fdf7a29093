"""bsoftmax pretrain: a small trunk and its softmax head, from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..data.loader import load_squares
from ..data.sets import ImageSet, read_splits
from ..models import backbones
from ..models.dual_branch import DualBranch
from ..models.spec import Spec
from ..training.pretraining import Recipe, averaged_weights, pretrain, targets
from .arguments import add_seed
from .console import progress_bar, ticker


def run(options: argparse.Namespace) -> None:
    """Trains a trunk and its softmax head from nothing and writes them as one file."""
    train, val = read_splits(options.data)
    recipe = Recipe(seed=options.seed)
    size = max(stage.size for stage in recipe.stages)
    state = Path(options.out).with_suffix(".state")
    tensors = []
    for split, name in ((train, "train"), (val, "val")):
        with progress_bar(len(split), f"decode {name}") as bar:
            tensors.append((load_squares(split, size, ticker(bar)), targets(split)))
    score = None
    with progress_bar(0, "train") as bar:
        for step in pretrain(tensors[0], tensors[1], len(train.classes), recipe, state, options.device):
            bar.total, bar.n = step.epochs * step.steps, step.epoch * step.steps + step.step
            bar.set_postfix_str(f"epoch {step.epoch + 1}/{step.epochs} loss {step.loss:.3f}", refresh=True)
            if step.val_accuracy is not None:
                score = step.val_accuracy
                bar.write(f"epoch {step.epoch + 1}/{step.epochs}: val top-1 {score:.2f} %, {step.seconds:.0f} s")
    training = {"command": options.command_line, "recipe": recipe.describe(), "data": _describe(train, val)}
    stride = recipe.stages[-1].output_stride
    parts = backbones.build(recipe.trunk, None, len(train.classes), stride)
    spec = Spec(recipe.trunk, train.classes, parts.preprocessing, parts.layer, stride, {}, {"trunk": training})
    model = DualBranch(parts, spec)
    model.load_state_dict(averaged_weights(state), strict=False)
    model.save(options.out, half=True)
    print(f"wrote {options.out}; val top-1 in the last epoch: {'not run' if score is None else f'{score:.2f} %'}")


def _describe(*splits: ImageSet) -> dict[str, dict[str, object]]:
    return {s.root.name: {"images": len(s), "sha256": s.fingerprint()} for s in splits}


def add_options(sub: argparse.ArgumentParser) -> None:
    """The options of `pretrain`."""
    sub.add_argument("data", help="folder with train/<class>/ and val/<class>/")
    sub.add_argument("--out", required=True, help="the .safetensors file to write")
    add_seed(sub)
    sub.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
