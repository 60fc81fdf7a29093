"""The directions themselves: unit vectors, where they must point, and the worst of them."""

import numpy as np
import pytest
import torch
from toys import images, refusal, toy

from bsoftmax.cams.view import View
from bsoftmax.gauge.directions import DIRECTIONS, Sample, parse_sizes, shifts


@pytest.fixture(scope="module")
def sample():
    model = toy()
    view = View(model, images(4))
    return Sample(model, view, view.logits("softmax").argmax(1), "cam", np.random.default_rng(0))


def test_every_direction_is_made_of_shifts_of_the_size_asked_for(sample):
    W = sample.model.softmax.weight.detach().numpy()
    r = np.sqrt((W**2).sum(1).mean())
    for name, vectors in shifts(sample, tuple(DIRECTIONS), (0.0, 0.5, 2.0)).items():
        assert len(vectors) == (3 if name == "random" else 1), name
        for moved in vectors:
            sizes = [abs(s.bias) if DIRECTIONS[name].bias else float(s.d.norm()) for s in moved]
            np.testing.assert_allclose(sizes, [0.5 * r, 2 * r], rtol=1e-5)
    mean = shifts(sample, ["mean"], (1.0,))["mean"][0][0].d.numpy()
    np.testing.assert_allclose(mean, r * W.mean(0) / np.linalg.norm(W.mean(0)), rtol=1e-5)


def test_the_worst_direction_is_worse_than_all_that_were_tried(sample):
    (worst,) = DIRECTIONS["adversarial"].vectors(sample)
    others = [u for name in ("mean", "uniform", "random") for u in DIRECTIONS[name].vectors(sample)]
    assert sample.agreement(worst) <= min(sample.agreement(u) for u in others)
    assert float(worst.norm()) == pytest.approx(1, abs=1e-6)


def test_a_centred_head_has_no_mean_direction():
    model = toy()
    with torch.no_grad():
        model.softmax.weight -= model.softmax.weight.mean(0)
    view = View(model, images(1))
    sample = Sample(model, view, view.logits("softmax").argmax(1), "cam", np.random.default_rng(0))
    assert shifts(sample, ["mean"], (1.0,)) == {"mean": []}


def test_sizes():
    assert parse_sizes("2,0.5") == (0.0, 0.5, 2.0)
    assert parse_sizes("0..1") == (0.0, 0.125, 0.25, 0.5, 1.0)
    for text in ("", "a", "1..", "nan", "-1", "1e9", "0", "3..1"):
        assert "row norms" in refusal(lambda text=text: parse_sizes(text)), text
