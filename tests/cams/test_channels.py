"""Eigen-CAM by either Gram matrix, LIFT-CAM of a unit whose input does not change, and Opti-CAM's steps."""

import numpy as np
import pytest
import reference as ref
import torch
from looks_made import K, close, model_of
from torch import nn
from toys import N, images

from bsoftmax.cams import View, weigh
from bsoftmax.cams.channels import eigencam


@pytest.mark.parametrize("shape", [(7, 3, 4), (12, 3, 4), (20, 3, 4)])
@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
def test_eigen_cam_of_fewer_and_of_more_channels_than_positions(shape, scale):
    F = np.random.default_rng(1).gamma(0.5, size=(2, *shape))
    alpha = eigencam(torch.tensor(F * scale, dtype=torch.float32))[:, :, 0, 0]
    for b in range(2):
        close(alpha[b].double(), ref.eigencam(F[b]), 1e-5)


def test_eigen_cam_of_an_even_image_is_nothing():
    for count in (3, 9):
        F = torch.ones(1, count, 2, 2)
        assert not (eigencam(F) * (F - F.mean((2, 3), keepdim=True))).any()


@pytest.mark.parametrize(("bias", "slope"), [(0.5, 1), (0.0, 0), (-0.5, 0)])
def test_a_unit_whose_input_does_not_change_passes_on_the_gradient_of_relu(bias, slope):
    """The hidden unit reads h_0 - h_1, 0 with the image and without: the quotient of the rule is 0 over 0."""
    model = model_of("gap")
    classifier = nn.Sequential(nn.Linear(N, 1), nn.ReLU(), nn.Linear(1, 5)).double().requires_grad_(False)
    classifier[0].weight[0] = torch.tensor([1.0, -1, 0, 0, 0, 0])
    classifier[0].bias[0] = bias
    classifier[2].weight[:, 0] = torch.tensor([1.0, 2, 3, 4, 5])
    view = View(model, images(1), features=(torch.ones(1, N, 2, 2, dtype=torch.float64), None))
    alpha = weigh(view.evidence("softmax", 2, classifier), "liftcam", clamp=False)
    assert alpha.flatten().tolist() == [3 * slope, -3 * slope, 0, 0, 0, 0]


def test_opti_cam_tells_every_step():
    told = []
    weigh(View(model_of("gap"), images()).evidence("softmax", K), "opticam", tick=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
