"""Features as tests ask for them: exact, all views of all images, and the files they lie in."""

from __future__ import annotations

import torch

from bsoftmax.training.feature_cache import features

EVERY = torch.arange(9)


def exact(model, images, root, *arguments, **options):
    return features(model, images, root, *arguments, precision="float32", **options)


def every(found):
    """All views of all images [V,n,N]."""
    return torch.stack([found.take(torch.arange(found.n), view) for view in range(found.views)])


def shard_files(root):
    return sorted(root.glob("*/*.npy"))
