"""The fit learns, repeats itself, can be stopped, and goes on after a kill to the same end."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from toys import N, refusal

from bsoftmax.models import checkpoints
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training import fitting
from bsoftmax.training.fitting import LOSSES, fit, measure, top1
from bsoftmax.training.loop import BranchConfig, ProbeConfig
from bsoftmax.training.vectors import Vectors


@pytest.fixture
def separable():
    """Three clouds far apart, in two views: h [2,60,N], labels [60], as Vectors."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 3 * torch.eye(N)[:3]
    return Vectors.of(centres[labels] + 0.1 * torch.randn(2, 60, N, generator=generator), labels)


def linear(seed=0, classes=3):
    torch.manual_seed(seed)
    layer = nn.Linear(N, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


QUICK = BranchConfig(epochs=20, batch=16)


# --- fit --------------------------------------------------------------------------------------------------------------


def test_fit_learns_what_can_be_learnt(separable):
    branch, labels = linear(), separable.labels
    epochs = list(fit(branch, separable, QUICK))
    assert [e.epoch for e in epochs] == list(range(1, 21))
    assert all(e.epochs == 20 for e in epochs)
    assert epochs[-1].loss < 0.3 * epochs[0].loss
    assert epochs[-1].accuracy == top1(branch, separable) == 100
    assert epochs[-1].val_accuracy is None
    assert epochs[-1].recalled == ()
    s = branch(separable.take(torch.arange(60))).sigmoid()
    assert (s.argmax(1) == labels).all()
    assert s.gather(1, labels[:, None]).min() > 0.7
    assert all(a.seconds <= b.seconds for a, b in pairwise(epochs))


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(N, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))


HEADS = {"linear": linear, "with dropout": mlp}


@pytest.mark.parametrize("head", HEADS)
def test_fit_is_deterministic_for_a_seed_whatever_the_global_generator_does(head, separable):
    def run(seed):
        branch = HEADS[head]()
        torch.seed()
        losses = [e.loss for e in fit(branch, separable, BranchConfig(epochs=3, batch=16, lr=0.1, seed=seed))]
        return losses, branch.state_dict()

    (losses, state), (again, repeated), (other, _) = run(0), run(0), run(1)
    assert losses == again
    assert all(torch.equal(v, repeated[k]) for k, v in state.items())
    assert losses != other


def test_fit_leaves_the_global_generator_alone(separable):
    branch = mlp()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(fit(branch, separable, BranchConfig(epochs=2)))
    assert torch.equal(torch.rand(3), expected)


def test_a_branch_stopped_early_keeps_what_it_learnt(separable):
    whole, stopped = linear(), linear()
    after_two = None
    for epoch in fit(whole, separable, QUICK):
        if epoch.epoch == 2:
            after_two = {k: v.clone() for k, v in whole.state_dict().items()}
    steps = fit(stopped, separable, QUICK)
    next(steps), next(steps)
    steps.close()
    assert all(torch.equal(v, after_two[k]) for k, v in stopped.state_dict().items())
    assert not torch.equal(stopped.weight, linear().weight)
    assert not stopped.training


@pytest.mark.parametrize("batches", [1, 4, 6])
def test_a_stop_is_heard_after_the_batch_under_way_and_keeps_what_was_learnt(batches, separable):
    branch, asked = linear(), []

    def stop():
        asked.append(1)
        return len(asked) == batches

    epochs = list(fit(branch, separable, QUICK, stop=stop))  # four batches an epoch
    assert len(asked) == batches
    assert len(epochs) == (batches - 1) // 4
    assert not torch.equal(branch.weight, linear().weight)
    assert not branch.training


def test_only_what_wants_gradients_is_trained(separable):
    branch = nn.Sequential(nn.Linear(N, N), nn.ReLU(), linear())
    branch[0].requires_grad_(False)
    before = branch[0].weight.clone()
    list(fit(branch, separable, QUICK))
    assert torch.equal(branch[0].weight, before)
    assert branch[0].weight.grad is None
    assert not torch.equal(branch[2].weight, linear().weight)
    assert "require gradients" in refusal(lambda: list(fit(linear().requires_grad_(False), separable, QUICK)))


def test_images_that_could_not_be_read_take_no_part(separable):
    """Poison in the place of an unreadable image: one look at it would leave no number behind."""
    h = separable.take(torch.arange(60))[None].clone()
    h[0, [3, 17]] = float("nan")
    read = lambda index, view: h[view, index]
    holed = Vectors(separable.labels, 1, N, read, "key", {3: "damaged", 17: "damaged"})
    whole = [n for n in range(60) if n not in (3, 17)]
    assert holed.good.tolist() == whole
    branch = linear()
    (*_, last) = fit(branch, holed, QUICK, val=holed)
    assert last.accuracy == last.val_accuracy == top1(branch, holed) == 100
    assert all(p.isfinite().all() for p in branch.parameters())


def test_dropout_acts_while_training_and_not_when_an_epoch_is_reported(separable):
    seen = []

    class Probe(nn.Module):
        def forward(self, h):
            seen.append(self.training)
            return h

    branch = nn.Sequential(Probe(), linear())
    for _ in fit(branch, separable, BranchConfig(epochs=2, batch=30), val=separable):
        assert not branch.training
    assert seen == [True, True, False, False] * 2  # one image shows how many classes there are


def test_the_validation_set_is_measured_apart(separable):
    wrong = Vectors.of(separable.take(torch.arange(60))[None], (separable.labels + 1) % 3)
    (*_, last) = fit(linear(), separable, QUICK, val=wrong)
    assert (last.accuracy, last.val_accuracy) == (100, 0)
    assert last.recalled == (0, 0, 0)


@pytest.mark.parametrize(
    ("loss", "recalled"), [("sigmoid", (50.0, 100.0, None, 0.0)), ("softmax", (100.0, 100.0, None, 50.0))]
)
def test_recalled_is_above_a_half_for_the_branch_and_the_largest_logit_for_softmax(loss, recalled):
    """Logits by eye; class 2 has no image."""
    logits = torch.tensor([[1.0, 0, 0, 0], [-1, -2, -3, -4], [3, 4, 0, 0], [0, 0, 0.1, -1], [-9, -9, -9, -0.1]])
    labels = torch.tensor([0, 0, 1, 3, 3])
    assert measure(nn.Identity(), Vectors.of(logits[None], labels), loss) == (80, recalled)


def test_measuring_in_pieces_changes_nothing(separable, monkeypatch):
    branch = linear(3)
    expected = measure(branch, separable)
    monkeypatch.setattr(fitting, "EVALUATED", 7)
    assert measure(branch, separable) == expected


def test_every_image_is_seen_once_an_epoch_in_one_of_its_views():
    """h holds (view, image) itself; a head that records its input shows what each epoch was made of."""
    V, n = 3, 10
    h = torch.stack(torch.meshgrid(torch.arange(V), torch.arange(n), indexing="ij"), -1).float()
    seen = []

    class Recorder(nn.Linear):
        def forward(self, rows):
            seen.append(rows)
            return super().forward(rows)

    given = Vectors.of(h, torch.arange(n) % 2)
    epochs = list(fit(Recorder(2, 2), given, BranchConfig(epochs=8, batch=4, lr=0.0)))
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
    (epoch,) = fit(branch, Vectors.of(h, labels), BranchConfig(epochs=1, batch=4, lr=0.0))
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
    config = BranchConfig(epochs=5, batch=4, lr=1.0, momentum=0.9, weight_decay=0.0)
    list(fit(ramp, Vectors.of(h, labels), config))
    moves = torch.stack([*steps, ramp.bias.detach()]).diff(dim=0)[:, 0]
    momentum, expected = 0.0, []
    for t in range(10):
        momentum = 0.9 * momentum + 1
        expected.append((1 + 0.9 * momentum) * 0.5 * (1 + np.cos(np.pi * t / 10)))  # Nesterov times cosine
    np.testing.assert_allclose((moves / moves[0]).numpy(), np.array(expected) / expected[0], rtol=1e-2)


def test_top1_is_in_percent():
    vectors = Vectors.of(torch.tensor([[[1.0, 0], [0, 1], [0, 1]]]), torch.tensor([0, 1, 0]))
    assert top1(nn.Identity(), vectors) == pytest.approx(200 / 3)


def test_the_softmax_head_is_trained_by_cross_entropy():
    """One step of gradient descent by hand: dL/dW = (p - y) h, averaged; no weight decay, no momentum."""
    h, labels = torch.randn(4, N, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    head = linear()
    W, b = head.weight.detach().double(), head.bias.detach().double()
    p = (h.double() @ W.T + b).softmax(1)
    p[torch.arange(4), labels] -= 1
    config = ProbeConfig(epochs=1, batch=4, lr=0.3, momentum=0.0, weight_decay=0.0, views=1)
    list(fit(head, Vectors.of(h[None], labels), config, "softmax"))
    torch.testing.assert_close(head.weight.double(), W - 0.3 * p.T @ h.double() / 4, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(head.bias.double(), b - 0.3 * p.mean(0), rtol=1e-5, atol=1e-7)
    assert set(LOSSES) == {"softmax", "sigmoid"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"views": 0}, "views"),
        ({"epochs": 0}, "epochs"),
        ({"batch": 0}, "batch"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"weight_decay": -1e-3}, "weight_decay"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"seed": -1}, "seed"),
        ({"init": "warm"}, "init"),
    ],
)
def test_a_configuration_that_cannot_train_is_refused(wrong, named):
    assert named in refusal(lambda: BranchConfig(**wrong))


def test_training_that_diverges_says_so(separable):
    huge = Vectors.of(separable.take(torch.arange(60))[None] * 1e30, separable.labels)
    message = refusal(lambda: list(fit(linear(), huge, BranchConfig(epochs=5, batch=16, lr=1e30))))
    assert "learning rate" in message


# --- states -----------------------------------------------------------------------------------------------------------

SHORT = BranchConfig(epochs=6, batch=16, lr=0.1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("done", [1, 5, 6])
def test_a_run_that_goes_on_equals_one_that_was_never_stopped(done, head, separable, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "STATE_SECONDS", 0.0)
    whole, first, second = (HEADS[head](seed) for seed in (0, 0, 9))
    expected = list(fit(whole, separable, SHORT, val=separable))
    steps = fit(first, separable, SHORT, val=separable, state=tmp_path / "s")
    for _ in range(done):
        next(steps)
    steps.close()
    got = list(fit(second, separable, SHORT, val=separable, state=tmp_path / "s"))
    facts = [(e.epoch, e.loss, e.accuracy, e.val_accuracy, e.recalled) for e in got]
    assert facts == [(e.epoch, e.loss, e.accuracy, e.val_accuracy, e.recalled) for e in expected]
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in second.state_dict().items())
    assert all(a.seconds <= b.seconds for a, b in pairwise(got))


def test_a_state_is_written_now_and_then_and_after_the_last_epoch(separable, tmp_path, monkeypatch):
    written, write = [], checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda *a: written.append(len(a[2]["epochs"])) or write(*a))
    clock = iter(range(1000))
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=lambda: 0.25 * next(clock)))
    list(fit(linear(), separable, QUICK, state=tmp_path / "s"))
    assert 20 in written
    assert 2 <= len(written) < 12
    assert written == sorted(set(written))


OTHER = {
    "configuration": lambda run: run | {"config": BranchConfig(epochs=6, batch=16, lr=0.2)},
    "loss": lambda run: run | {"loss": "softmax"},
    "vectors": lambda run: run | {"train": Vectors.of(run["train"].take(torch.arange(60))[None], run["train"].labels)},
    "labels": lambda run: run | {"train": Vectors.of(both(run["train"]), (run["train"].labels + 1) % 3)},
    "head": lambda run: run | {"head": mlp()},
}


def both(vectors):
    return torch.stack([vectors.take(torch.arange(60), view) for view in (0, 1)])


@pytest.mark.parametrize("other", OTHER)
def test_another_run_s_state_is_refused(other, separable, tmp_path):
    run = {"head": linear(), "train": separable, "config": SHORT, "state": tmp_path / "s"}
    list(fit(**run))
    again = OTHER[other](run | {"head": linear()})
    assert "another run" in refusal(lambda: list(fit(**again)), CheckpointError)
    assert list(fit(**run | {"train": Vectors.of(both(separable), separable.labels)}))  # the same numbers elsewhere


def test_a_damaged_state_is_refused(separable, tmp_path):
    list(fit(linear(), separable, SHORT, state=tmp_path / "s"))
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:100])
    refusal(lambda: list(fit(linear(), separable, SHORT, state=tmp_path / "s")), CheckpointError)
