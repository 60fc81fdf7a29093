"""Attributions at pixels against captum called directly, numeric gradients and the sums that they must have."""

import copy
import math

import numpy as np
import pytest
import reference as ref
import reference_methods as more
import torch
from looks_made import K, close, model_of
from torch import nn
from toys import C, N, images, refusal, shake, toy

from bsoftmax.cams import METHODS, View, class_map, explain, pixels, relevance
from bsoftmax.cams.copies import UnsuitedError
from bsoftmax.cams.sources import SOURCES
from bsoftmax.models.zoo import from_module

PIXELS = [m for m in METHODS if METHODS[m].lacks is pixels.missing]


class Whole(nn.Module):
    """The toy's trunk and softmax head as one ordinary network."""

    def __init__(self, model):
        super().__init__()
        self.conv, self.relu, self.pool = copy.deepcopy(model.trunk.net[0]), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.fc = copy.deepcopy(model.softmax)

    def forward(self, x):
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))


def score_of(model, source, b):
    """The score of image b's class, of one picture, as a number."""
    branch = model.classifier(SOURCES[source].branch)

    def score(picture):
        z = branch(model.neck(*model.trunk(torch.as_tensor(picture)[None])))[0].tolist()
        return ref.SCORES[source](z, int(K[b]))

    return score


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["sigmoid", "log-odds"])
def test_saliency_agrees_with_finite_differences(source):
    model, x = model_of("token"), images()
    S = explain(model, x, K, "saliency", source)
    G = ref.numeric_gradient(score_of(model, source, 1), x[1].numpy())
    close(S[1], np.abs(G).sum(0), 1e-6)
    assert S.shape == (2, 24, 24)


def test_saliency_agrees_with_captum():
    from captum.attr import Saliency

    model, x = model_of("gap"), images()
    expected = Saliency(Whole(model)).attribute(x.clone().requires_grad_(), target=K).sum(1)
    close(explain(model, x, K, "saliency", "softmax"), expected)


def test_smoothgrad_agrees_with_captum():
    from captum.attr import NoiseTunnel, Saliency

    model, x = toy("gap", double=False), images(double=False)[:1]  # captum draws in single precision
    torch.manual_seed(pixels.SEED)
    options = {"nt_type": "smoothgrad", "nt_samples": pixels.SAMPLES, "target": 1, "abs": False}
    spread = float(pixels.NOISE * (x.max() - x.min()))
    expected = NoiseTunnel(Saliency(Whole(model))).attribute(x.clone(), stdevs=spread, **options).abs().sum(1)
    close(explain(model, x, 1, "smoothgrad", "softmax"), expected, 1e-5)
    assert not torch.allclose(explain(model, x, 1, "smoothgrad"), explain(model, x, 1, "saliency"))


def test_integrated_gradients_agree_with_captum_and_with_the_midpoint_rule(monkeypatch):
    from captum.attr import IntegratedGradients

    monkeypatch.setattr(pixels, "STEPS", 50)
    model, x = model_of("gap"), images()
    S = explain(model, x, K, "intgrad", "softmax")
    close(S, IntegratedGradients(Whole(model)).attribute(x, target=K, n_steps=50).sum(1))
    net = Whole(model)

    def gradient(picture):
        leaf = torch.as_tensor(picture)[None].requires_grad_()
        return torch.autograd.grad(net(leaf)[0, K[0]], leaf)[0][0].numpy()

    slow = more.integrated_gradients(x[0].numpy(), gradient, 400).sum(0)
    assert np.abs(S[0].numpy() - slow).max() < 0.02 * np.abs(slow).max()  # kinks of ReLU: both are approximations


# --- what must add up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("head", ["gap", "mlp"])
def test_contributions_add_up_to_the_score_less_that_of_the_mean_colour(head, source, monkeypatch):
    monkeypatch.setattr(pixels, "STEPS", 60)
    model, x = model_of(head), images()
    blank = View(model, torch.zeros_like(x)).evidence(source, K).score
    apart = View(model, x).evidence(source, K).score - blank
    close(explain(model, x, K, "deeplift", source).sum((1, 2)), apart, 1e-8)
    error = (explain(model, x, K, "intgrad", source).sum((1, 2)) - apart).abs() / apart.abs()
    assert error.max() < 0.05


def test_deep_lift_agrees_with_captum():
    from captum.attr import DeepLift

    model, x = model_of("gap"), images()
    expected = DeepLift(Whole(model)).attribute(x.clone(), torch.zeros_like(x), target=K).sum(1)
    close(explain(model, x, K, "deeplift", "softmax"), expected)


def test_deep_lift_is_refused_where_it_misses_the_score_by_more_than_a_share_of_it(monkeypatch):
    model, x, signs = model_of("token"), images(1), set()
    for k in range(C):
        monkeypatch.setattr(relevance, "CLOSE", math.inf)
        found = explain(model, x, k, "deeplift", "softmax").sum()
        apart = model(x)["softmax"][0, k] - model(torch.zeros_like(x))["softmax"][0, k]
        missed = float((found - apart).abs() / apart.abs())
        signs.add((bool(found > apart), bool(apart > 0)))
        monkeypatch.setattr(relevance, "CLOSE", 1.001 * missed)
        explain(model, x, k, "deeplift", "softmax")
        monkeypatch.setattr(relevance, "CLOSE", 0.999 * missed)
        assert "add up" in refusal(lambda k=k: explain(model, x, k, "deeplift", "softmax"), UnsuitedError)
    assert len(signs) > 2, signs  # above and below, of scores that rise and fall


def test_relevance_of_three_images_is_that_of_each_and_is_told_image_by_image():
    model, x = model_of("gap"), images(3)
    for method, steps in (("deeplift", [(0, 3), (1, 3), (2, 3)]), ("lrp", [(0, 1)])):
        told = []
        S = class_map(View(model, x).evidence("softmax", 2), method, tick=lambda *at, told=told: told.append(at))
        assert told == steps
        for b in range(3):
            close(S[b], explain(model, x[b : b + 1], 2, method, "softmax")[0])


def test_lrp_agrees_with_captum_and_is_the_image_times_its_gradient_in_a_network_of_relus():
    from captum.attr import LRP

    model, x = model_of("gap"), images()
    expected = LRP(Whole(model)).attribute(x.clone(), target=K).sum(1)
    close(explain(model, x, K, "lrp", "softmax"), expected, 1e-6)
    for source in SOURCES:
        leaf = x.clone().requires_grad_()
        evidence = View(model, x).evidence(source, K)
        (G,) = torch.autograd.grad(evidence.of_images(leaf, K).sum(), leaf)
        close(class_map(evidence, "lrp"), (leaf * G).sum(1), 1e-6)


# --- networks with more in them -------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A block that uses one ReLU twice, BatchNorm behind a convolution and before one, and a sum."""

    def __init__(self, relu):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, N, 6, 6), nn.BatchNorm2d(N)
        self.first, self.last = nn.BatchNorm2d(N), nn.Conv2d(N, N, 3, padding=1)
        self.relu, self.pool, self.fc = relu, nn.AdaptiveAvgPool2d(1), nn.Linear(N, C)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(x + self.last(self.first(x)))
        return self.fc(self.pool(x).flatten(1))


def residual(relu):
    torch.manual_seed(0)
    net = shake(Residual(relu)).double().eval()
    return from_module(net, "relu", classes=tuple("abcde"), size=24)


@pytest.mark.parametrize("relu", [nn.ReLU(inplace=True), nn.ReLU6()], ids=["relu", "relu6"])
def test_rules_reach_through_batch_norm_sums_and_activations_used_twice(relu):
    model, x = residual(relu), images()
    with torch.no_grad():
        model.softmax.weight *= 20
    evidence = View(model, x).evidence("softmax", K)
    apart = evidence.score - View(model, torch.zeros_like(x)).evidence("softmax", K).score
    close(class_map(evidence, "deeplift").sum((1, 2)), apart, 1e-8)
    leaf = x.clone().requires_grad_()
    (G,) = torch.autograd.grad(evidence.of_images(leaf, K).sum(), leaf)
    close(class_map(evidence, "lrp"), (leaf * G).sum(1), 1e-6)  # nothing is above 6 here


def test_layers_without_a_rule_are_named_before_and_found_while_it_runs():
    for key in ("deeplift", "lrp"):
        assert "LayerNorm" in refusal(lambda key=key: explain(model_of("norm"), images(), 0, key))
        assert "Integrated Gradients" in refusal(lambda key=key: explain(model_of("norm"), images(), 0, key))
    assert "add up" in refusal(lambda: explain(model_of("token"), images(), 0, "deeplift"), UnsuitedError)


@pytest.mark.parametrize("method", PIXELS)
def test_without_captum_a_sentence_says_how_to_get_it(method, monkeypatch):
    monkeypatch.setattr(pixels, "find_spec", lambda name: None)
    assert "pip install 'bsoftmax[captum]'" in refusal(lambda: explain(model_of("gap"), images(), 0, method))


@pytest.mark.parametrize("method", PIXELS)
def test_progress_is_told_and_a_stop_ends_it(method):
    seen, evidence = [], View(model_of("gap"), images()).evidence("softmax", K)
    class_map(evidence, method, tick=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert 0 <= seen[0][0] <= seen[-1][0] <= seen[-1][1]

    def stopped(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        class_map(View(model_of("gap"), images()).evidence("softmax", K), method, tick=stopped)
