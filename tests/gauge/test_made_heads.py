"""Every made head derived again from its definition, on few features of few classes."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
import torch

from bsoftmax.gauge import made_heads as module
from bsoftmax.gauge.made_heads import MADE, Samples
from bsoftmax.training.vectors import Vectors

C, N, IMAGES = 4, 6, 60


@pytest.fixture(scope="module")
def samples():
    """Features with much in common, none below 0, as after ReLU."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(C, size=IMAGES))
    centres = 1 + rng.random((C, N))
    h = np.maximum(centres[labels] + 0.4 * rng.normal(size=(IMAGES, N)), 0)
    return Samples.of(Vectors.of(torch.from_numpy(h).float()[None], labels), C)


@pytest.fixture(scope="module")
def heads(samples):
    """Rows [C,N] and biases [C] by key."""
    made = {key: entry.make(samples) for key, entry in MADE.items()}
    assert not any(p.requires_grad for head in made.values() for p in head.parameters())
    return {key: (head.weight.double().numpy(), head.bias.double().numpy()) for key, head in made.items()}


def features(samples):
    return samples.h.double().numpy()


def probabilities(samples, W, b, T=1.0):
    return np.array([ref.softmax((W @ h + b) / T) for h in features(samples)])


def hot(samples):
    return np.eye(C)[samples.labels.numpy()]


def slope(samples, P, target):
    """Gradient of the mean cross-entropy at the rows: 1/n sum (p - t) h^T."""
    return (P - target).T @ features(samples) / IMAGES


def class_means(h, labels):
    return np.stack([np.mean([x for x, y in zip(h, labels) if y == k], axis=0) for k in range(C)])


def share(W):
    return np.linalg.norm(W.mean(0)) / np.sqrt((W**2).sum(1).mean())


def test_the_ordinary_head_is_centred_and_others_are_not(heads):
    assert share(heads["ordinary"][0]) < 1e-3
    for key in MADE.keys() - {"ordinary", "cosface"}:
        assert share(heads[key][0]) > 0.02, key


@pytest.mark.parametrize("key", ["reference", "drifted"])
def test_a_common_vector_leaves_the_probabilities(samples, heads, key):
    assert probabilities(samples, *heads[key]) == pytest.approx(probabilities(samples, *heads["ordinary"]), abs=1e-5)
    moved = heads[key][0] - heads["ordinary"][0]
    assert np.abs(moved - moved[0]).max() < 1e-5


def test_the_reference_class_has_no_row(heads):
    W, b = heads["reference"]
    assert not W[-1].any()
    assert b[-1] == 0


def test_imprinted_rows_are_normalised_class_means(samples, heads):
    W, b = heads["imprinted"]
    h = np.array([x / np.linalg.norm(x) for x in features(samples)])
    means = class_means(h, samples.labels)
    expected = means / np.linalg.norm(means, axis=1)[:, None]
    scale = np.linalg.norm(W, axis=1)
    assert W / scale[:, None] == pytest.approx(expected, abs=1e-5)
    assert scale == pytest.approx(scale[0], rel=1e-5)
    assert not b.any()
    rest = (probabilities(samples, W, b) - hot(samples)) * (features(samples) @ W.T)
    assert rest.sum() / IMAGES == pytest.approx(0, abs=1e-3)  # no other scale has less cross-entropy


def test_no_small_step_lowers_the_margin_loss_of_cosface(samples, heads):
    W = heads["cosface"][0]
    h = np.array([x / np.linalg.norm(x) for x in features(samples)])

    def loss(rows):
        z = h @ (rows / np.linalg.norm(rows, axis=1)[:, None]).T - 0.35 * hot(samples)
        P = np.array([ref.softmax(30 * x) for x in z])
        return -np.log(P[np.arange(IMAGES), samples.labels]).mean()

    assert np.linalg.norm(W, axis=1) == pytest.approx(np.linalg.norm(W[0]), rel=1e-5)
    rng, rows = np.random.default_rng(1), W / np.linalg.norm(W[0])
    assert all(loss(rows + 1e-2 * rng.normal(size=W.shape)) > loss(rows) - 1e-6 for _ in range(20))


def test_nearest_mean_is_the_class_whose_mean_is_nearest(samples, heads):
    h = features(samples)
    far = -((h[:, None] - class_means(h, samples.labels)) ** 2).sum(2) / 2
    nearest = np.array([ref.softmax(z) for z in far])
    assert probabilities(samples, *heads["nearest-mean"]) == pytest.approx(nearest, abs=1e-5)


def test_a_frozen_row_stays_and_the_others_are_at_their_optimum(samples, heads):
    W, b = heads["frozen"]
    mean, ordinary = features(samples).mean(0), heads["ordinary"][0]
    norm = np.sqrt((ordinary**2).sum(1).mean())
    assert W[-1] == pytest.approx(-3 * norm * mean / np.linalg.norm(mean), rel=1e-4)
    rest = slope(samples, probabilities(samples, W, b), hot(samples)) + samples.penalty * W
    assert np.abs(rest[:-1]).max() < 1e-3
    assert share(W) > 0.5


def test_a_distilled_head_answers_as_its_teacher(samples, heads):
    W, ordinary = heads["distilled"][0], heads["ordinary"][0]
    teacher = probabilities(samples, *heads["ordinary"], 4)
    assert probabilities(samples, *heads["distilled"], 4) == pytest.approx(teacher, abs=0.02)
    assert np.linalg.norm(W[-1]) == pytest.approx(samples.row_norm, rel=1e-4)
    assert abs(W[-1] @ ordinary[-1]) < 0.99 * samples.row_norm * np.linalg.norm(ordinary[-1])


def test_text_rows_have_a_common_vector_and_the_ordinary_class_parts(heads):
    W, ordinary = heads["text"][0], heads["ordinary"][0]
    parts = ordinary - ordinary.mean(0)
    parts /= np.linalg.norm(parts, axis=1)[:, None]
    common = torch.randn(N, generator=torch.Generator().manual_seed(0)).double().numpy()
    norm = np.sqrt((ordinary**2).sum(1).mean())
    expected = norm * (parts + np.sqrt(0.7 / 0.3) * common / np.linalg.norm(common))
    assert pytest.approx(expected, rel=1e-4) == W


def test_l1_rows_satisfy_the_conditions_of_their_optimum(samples, heads):
    W, b = heads["l1"]
    strength = module.SPARSE * np.abs(slope(samples, np.full((IMAGES, C), 1 / C), hot(samples))).max()
    at, zero = slope(samples, probabilities(samples, W, b), hot(samples)), W == 0
    assert 0 < zero.mean() < 1
    assert np.abs(at[zero]).max() < strength * 1.01
    assert at[~zero] == pytest.approx(-strength * np.sign(W[~zero]), rel=0.02)


def test_pruning_keeps_the_largest_tenth(heads):
    W, ordinary = heads["pruned"][0], heads["ordinary"][0]
    kept = np.sort(np.abs(ordinary).ravel())[::-1][: round(0.1 * C * N)]
    assert np.sort(np.abs(W[W != 0]))[::-1] == pytest.approx(kept)
    assert (W[W != 0] == ordinary[W != 0]).all()


def test_one_against_the_rest_is_at_the_optimum_of_binary_cross_entropy(samples, heads):
    W, b = heads["one-vs-rest"]
    s = np.array([[ref.sigmoid(z) for z in W @ h + b] for h in features(samples)])
    penalty = -(s - hot(samples)).T @ features(samples) / (IMAGES * C) / W  # of every weight
    assert penalty == pytest.approx(np.median(penalty), rel=0.1)
    assert np.median(penalty) > 0


@pytest.mark.parametrize("key", ["text", "drifted", "distilled"])
def test_the_same_seed_gives_the_same_head(samples, heads, key):
    assert (MADE[key].make(samples).weight.double().numpy() == heads[key][0]).all()


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_an_entry_says_whose_it_is_and_how_it_is_made(made):
    assert all((made.title, made.source, made.how, made.make.__doc__))
