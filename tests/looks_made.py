"""Toys and maps that tests of the methods share."""

from functools import cache

import numpy as np
import torch
from toys import toy

K = torch.tensor([1, 3])


def close(got, expected, tolerance=1e-9):
    got, expected = (v.detach().numpy() if isinstance(v, torch.Tensor) else v for v in (got, expected))
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max()))


@cache
def model_of(head, maps="4x4"):
    return toy(head, maps)
