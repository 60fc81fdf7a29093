"""What tests of models and checkpoints share: classes, equality to the bit, local weights."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from toys import shake

CLASSES = ("cat", "dog", "fox")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def local_weights(folder, seed):
    import timm

    torch.manual_seed(0)
    net = shake(timm.create_model("test_resnet"), seed)
    save_file(net.state_dict(), folder / "test_resnet.safetensors")
