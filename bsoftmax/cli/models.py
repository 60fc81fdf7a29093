"""bsoftmax models: what --model accepts."""

from __future__ import annotations

import argparse
import json

from ..models import backbones, checkpoints, zoo


def run(options: argparse.Namespace) -> None:
    """Lists what --model accepts."""
    for name, path in zoo.bundled().items():
        meta = checkpoints.read(path)[1]
        print(
            f"{name:14} bundled: {meta['trunk']}, {len(meta['classes'])} classes, {json.dumps(meta.get('metrics', {}))}"
        )
    for name, entry in backbones.BACKBONES.items():
        local = backbones.local_weights(entry.timm)
        where = f"local file {local}" if local else f"weights {entry.timm} from the Hub"
        print(f"{name:14} {entry.note}; {where if entry.complete else 'some layers fresh: train it'}")
    for name in zoo.local_trunks():
        print(f"{name:14} generic cut; local file {backbones.local_weights(name)}")
    for file, why in zoo.unreadable().items():
        print(f"{file:14} cannot be opened: {why}")
    print("Any other timm name, or the path of a .safetensors checkpoint, works too.")


def add_options(sub: argparse.ArgumentParser) -> None:
    """`models` has no options."""
