"""Toys and maps that tests of the methods share."""

import copy
from functools import cache

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from toys import C, shake, toy

from bsoftmax.models import surgery
from bsoftmax.models.backbones import Parts, Preprocessing
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.spec import Spec

K = torch.tensor([1, 3])
CLASSES = tuple("abcde")
SIZES = {"img_size": (24, 30), "patch_size": 6, "embed_dim": 12, "depth": 3, "num_heads": 3, "num_classes": C}


def close(got, expected, tolerance=1e-9):
    got, expected = (v.detach().numpy() if isinstance(v, torch.Tensor) else v for v in (got, expected))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max()))


@cache
def model_of(head, maps="4x4"):
    return toy(head, maps)


@cache
def transformer(prefix):
    """A small vision transformer as timm makes it, and cut in two."""
    torch.manual_seed(0)
    net = shake(VisionTransformer(**SIZES, reg_tokens=prefix - 1, init_values=0.5, qk_norm=True)).double().eval()
    return net, cut(net)


def cut(net):
    pieces = surgery.generic(copy.deepcopy(net))
    look = Preprocessing(24, (0.5,) * 3, (0.5,) * 3)
    model = DualBranch(Parts(*pieces[:3], look, pieces.layer, CLASSES), Spec("vit", CLASSES, look, pieces.layer))
    shake(model.add_branch(), 2).double()
    return model.requires_grad_(False)


def wide(batch=2):
    return torch.randn(batch, 3, 24, 30, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
