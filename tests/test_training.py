"""Eq. 12 against loops; the fit learns, repeats itself and can be stopped; features are computed once a view."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import reference as ref
import torch
from PIL import Image
from torch import nn
from toys import C, N, coloured, counted, refusal, small_model, toy

from bsoftmax.data import read_class_folders
from bsoftmax.images import ImageError
from bsoftmax.training import BranchConfig, balanced_bce, extract, fit, top1, views_of


@pytest.fixture
def separable():
    """Three clouds far apart, in two views: h [2,60,N], labels [60]."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 3 * torch.eye(N)[:3]
    return centres[labels] + 0.1 * torch.randn(2, 60, N, generator=generator), labels


def linear(seed=0, classes=3):
    torch.manual_seed(seed)
    layer = nn.Linear(N, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


QUICK = BranchConfig(epochs=20, batch=16)

# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_loss_agrees_with_equation_12(classes):
    rng = np.random.default_rng(0)
    z, labels = rng.normal(0, 2, (9, classes)), rng.integers(0, classes, 9)
    got = balanced_bce(torch.tensor(z), torch.tensor(labels))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.item(), ref.branch_loss(z, labels), rtol=1e-12)


def test_loss_gives_one_positive_the_weight_of_all_negatives():
    """At z = 0 the gradient is -(1 - 1/C)/2 at the class and 1/(2C) at each of the C - 1 others: they cancel."""
    z = torch.zeros(1, C, dtype=torch.float64, requires_grad=True)
    (G,) = torch.autograd.grad(balanced_bce(z, torch.tensor([2])), z)
    expected = torch.full((1, C), 0.5 / C, dtype=torch.float64)
    expected[0, 2] = -0.5 * (1 - 1 / C)
    torch.testing.assert_close(G, expected)
    assert abs(float(G.sum())) < 1e-15


def test_loss_of_extreme_logits_is_finite():
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    assert balanced_bce(z, torch.tensor([1, 0])).isfinite()
    assert balanced_bce(z, torch.tensor([0, 1])) == 0


def test_a_shift_common_to_all_classes_does_change_the_loss():
    """That is what pins the branch's weights down, and what cross-entropy cannot see."""
    z, labels = torch.randn(4, C), torch.tensor([0, 1, 2, 3])
    assert (balanced_bce(z + 1, labels) - balanced_bce(z, labels)).abs() > 0.05
    torch.testing.assert_close(nn.functional.cross_entropy(z + 1, labels), nn.functional.cross_entropy(z, labels))


# --- fit --------------------------------------------------------------------------------------------------------------


def test_fit_learns_what_can_be_learnt(separable):
    h, labels = separable
    branch = linear()
    epochs = list(fit(branch, h, labels, QUICK))
    assert [e.epoch for e in epochs] == list(range(1, 21))
    assert all(e.epochs == 20 for e in epochs)
    assert epochs[-1].loss < 0.3 * epochs[0].loss
    assert epochs[-1].accuracy == top1(branch, h[0], labels) == 100
    s = branch(h[0]).sigmoid()
    assert (s.argmax(1) == labels).all()
    assert s.gather(1, labels[:, None]).min() > 0.7
    assert all(a.seconds <= b.seconds for a, b in pairwise(epochs))


@pytest.mark.parametrize("head", ["gap", "mlp"])
def test_fit_is_deterministic_for_a_seed(head, separable):
    def run(seed):
        torch.manual_seed(seed)  # the branch's start, and an MLP's dropout
        branch = linear() if head == "gap" else nn.Sequential(nn.Linear(N, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        torch.manual_seed(seed if head == "mlp" else torch.seed())
        losses = [e.loss for e in fit(branch, *separable, BranchConfig(epochs=3, batch=16, lr=0.1, seed=seed))]
        return losses, branch.state_dict()

    (losses, state), (again, repeated), (other, _) = run(0), run(0), run(1)
    assert losses == again
    assert all(torch.equal(v, repeated[k]) for k, v in state.items())
    assert losses != other


def test_a_branch_stopped_early_keeps_what_it_learnt(separable):
    whole, stopped = linear(), linear()
    after_two = None
    for epoch in fit(whole, *separable, QUICK):
        if epoch.epoch == 2:
            after_two = {k: v.clone() for k, v in whole.state_dict().items()}
    steps = fit(stopped, *separable, QUICK)
    next(steps), next(steps)
    steps.close()
    assert all(torch.equal(v, after_two[k]) for k, v in stopped.state_dict().items())
    assert not torch.equal(stopped.weight, linear().weight)
    assert not stopped.training


def test_dropout_acts_while_training_and_not_when_an_epoch_is_reported(separable):
    seen = []

    class Probe(nn.Module):
        def forward(self, h):
            seen.append(self.training)
            return h

    branch = nn.Sequential(Probe(), linear())
    for _ in fit(branch, *separable, BranchConfig(epochs=2, batch=30), val=(separable[0][0], separable[1])):
        assert not branch.training
    assert seen == [True, True, False] * 2


def test_the_accuracy_reported_is_of_the_validation_set_when_there_is_one(separable):
    h, labels = separable
    wrong = (labels + 1) % 3
    (*_, last) = fit(linear(), h, labels, QUICK, val=(h[0], wrong))
    assert last.accuracy == 0


def test_every_image_is_seen_once_an_epoch_in_one_of_its_views():
    """h holds (view, image) itself; a head that records its input shows what each epoch was made of."""
    V, n = 3, 10
    h = torch.stack(torch.meshgrid(torch.arange(V), torch.arange(n), indexing="ij"), -1).float()
    seen = []

    class Recorder(nn.Linear):
        def forward(self, rows):
            seen.append(rows)
            return super().forward(rows)

    epochs = list(fit(Recorder(2, 2), h, torch.arange(n) % 2, BranchConfig(epochs=8, batch=4, lr=0.0)))
    assert [len(rows) for rows in seen] == [4, 4, 2] * 8
    per_epoch = [torch.cat(seen[3 * e : 3 * e + 3]) for e in range(len(epochs))]
    assert all(sorted(rows[:, 1].tolist()) == list(range(n)) for rows in per_epoch)
    assert {int(v) for rows in per_epoch for v in rows[:, 0]} == {0, 1, 2}
    assert any(rows[:, 1].tolist() != per_epoch[0][:, 1].tolist() for rows in per_epoch[1:])  # shuffled anew
    image_five = {int(rows[rows[:, 1] == 5][0, 0]) for rows in per_epoch}
    assert len(image_five) > 1  # not always the same view


def test_the_loss_reported_is_the_mean_over_images_not_batches():
    h, labels = torch.randn(1, 5, N, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    branch = linear()
    expected = balanced_bce(branch(h[0]), labels).item()
    (epoch,) = fit(branch, h, labels, BranchConfig(epochs=1, batch=4, lr=0.0))
    assert epoch.loss == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_falls_to_zero_along_a_cosine(separable):
    """Plain SGD on a constant gradient: the steps themselves are the learning rates."""
    steps = []

    class Ramp(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, h):
            steps.append(self.bias.detach().clone())
            return (self.bias * torch.tensor([1e-3, -1e-3])).expand(len(h), 2)

    h, labels = torch.zeros(1, 8, 1), torch.zeros(8, dtype=torch.int64)
    ramp = Ramp()
    list(fit(ramp, h, labels, BranchConfig(epochs=5, batch=4, lr=1.0, momentum=0.9, weight_decay=0.0)))
    moves = torch.stack([*steps, ramp.bias.detach()]).diff(dim=0)[:, 0]
    momentum, expected = 0.0, []
    for t in range(10):
        momentum = 0.9 * momentum + 1
        expected.append((1 + 0.9 * momentum) * 0.5 * (1 + np.cos(np.pi * t / 10)))  # Nesterov times cosine
    np.testing.assert_allclose((moves / moves[0]).numpy(), np.array(expected) / expected[0], rtol=1e-2)


def test_top1_is_in_percent():
    head = nn.Identity()
    assert top1(head, torch.tensor([[1.0, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 0])) == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"views": 0}, "views"),
        ({"epochs": 0}, "epochs"),
        ({"batch": 0}, "batch"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
    ],
)
def test_a_configuration_that_cannot_train_is_refused(wrong, named):
    assert named in refusal(lambda: BranchConfig(**wrong))


def test_training_that_diverges_says_so(separable):
    h, labels = separable
    message = refusal(lambda: list(fit(linear(), h * 1e30, labels, BranchConfig(epochs=5, batch=16, lr=1e30))))
    assert "learning rate" in message


# --- views ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def views(pixels, count, seed=0):
    return views_of(pixels, count, torch.Generator().manual_seed(seed))


def test_the_first_view_is_the_image_and_the_second_its_mirror(pixels):
    seen = views(pixels, 2)
    assert torch.equal(seen[0], pixels)
    assert torch.equal(seen[1], pixels[..., range(19, -1, -1)])
    assert torch.equal(views(pixels, 1), pixels[None])


def test_further_views_are_random_crops_that_a_seed_repeats(pixels):
    seen = views(pixels, 6)
    assert seen.shape == (6, 4, 3, 20, 20)
    assert seen.dtype == torch.uint8
    assert torch.equal(seen, views(pixels, 6))
    assert not torch.equal(seen, views(pixels, 6, seed=1))
    assert len({row.numpy().tobytes() for row in seen.flatten(0, 1)}) == 24


def test_crops_show_half_to_all_of_the_area_and_some_are_mirrored():
    """On a ramp from left to right the spread of a crop tells its width, the sign of its slope the mirroring."""
    ramp = torch.arange(100).expand(64, 3, 100, 100).to(torch.uint8)
    crops = views(ramp, 3)[2].float().mean((1, 2))
    slopes = crops[:, -1] - crops[:, 0]
    widths = slopes.abs() + 1
    assert 66 < widths.min() < 76
    assert 90 < widths.max() <= 101
    assert 15 < (slopes < 0).sum() < 49
    assert (crops.min(1).values.round().unique().numel()) > 10  # they begin in different places


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    return read_class_folders(coloured(tmp_path, {"train": 3}) / "train")


@pytest.mark.parametrize("count", [1, 3])
def test_features_cost_one_trunk_image_a_view(count, folders):
    model, seen = toy("mlp", double=False), []
    with counted(model) as calls:
        h = extract(model, folders, count, batch=4, tick=lambda done, of: seen.append((done, of)))
    assert sum(calls) == count * len(folders) == count * 9
    assert max(calls) <= 4
    assert h.shape == (count, 9, 24)
    assert h.dtype == torch.float32
    assert not h.requires_grad
    assert seen == [(4, 9), (8, 9), (9, 9)]


@pytest.mark.parametrize("batch", [2, 64])
def test_features_are_those_of_each_view_of_each_image_in_order(batch, folders):
    model = toy("mlp", double=False)
    h = extract(model, folders, 2, batch=batch)
    for n, path in enumerate(folders.paths):
        x = model.preprocess(Image.open(path))
        for view, seen in enumerate((x, x.flip(3))):
            torch.testing.assert_close(h[view, n], model.neck(*model.trunk(seen))[0], rtol=1e-5, atol=1e-5)


def test_random_views_repeat_with_their_seed(folders):
    model = toy(double=False)
    first, again, other = (extract(model, folders, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first[:2], other[:2])
    assert not torch.equal(first[2], other[2])


def test_a_picture_that_cannot_be_read_is_named(folders):
    folders.paths[4].write_bytes(b"not a picture")
    assert folders.paths[4].name in refusal(lambda: extract(toy(double=False), folders), ImageError)


def test_from_folders_to_a_branch_that_tells_colours_apart(tmp_path):
    """The whole way on a real network: features once, the head trained on them, the frozen part untouched."""
    train, val = (
        read_class_folders(coloured(tmp_path / s, {s: 6}, seed=i) / s) for i, s in enumerate(("train", "val"))
    )
    model = small_model(train.classes, branch=False)
    frozen = model.frozen_hash()
    h, h_val = extract(model, train, 2), extract(model, val)[0]
    with counted(model) as calls:
        torch.manual_seed(0)
        branch = model.add_branch()
        *_, last = fit(branch, h, torch.tensor(train.labels), BranchConfig(epochs=40, batch=6, lr=0.05),
                       val=(h_val, torch.tensor(val.labels)))  # fmt: skip
    assert calls == []
    assert last.accuracy == 100
    assert model.frozen_hash() == frozen
