"""The recipe on a handful of coloured squares: it runs, learns, goes on where it stopped and guards its state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import coloured, refusal

from bsoftmax.data.loader import Augmented
from bsoftmax.data.sets import read_class_folders
from bsoftmax.models import checkpoints
from bsoftmax.models.backbones import build
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.spec import Spec
from bsoftmax.training.feature_cache import fast_precision
from bsoftmax.training.pretraining import (
    Recipe,
    Stage,
    _classifier,
    _loader,
    _lr,
    _optimizer,
    averaged_weights,
    pretrain,
    targets,
)

RECIPE = Recipe("test_resnet", (Stage(32, 32, 2, 0.05, 0.5), Stage(48, 16, 1, 0.01, 0.5)), batch=16, ema=0.9)


@pytest.fixture(scope="module")
def data():
    """36 squares of three colours, as training and as validation set."""
    labels = torch.arange(36) % 3
    pixels = torch.randint(0, 60, (36, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(36), labels] += 180
    return pixels, labels


def run(data, state, recipe=RECIPE):
    return pretrain(data, data, 3, recipe, state, workers=0)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    state = tmp_path_factory.mktemp("pretrain") / "m.state"
    return state, list(run(data, state))


def test_every_step_and_every_epoch_is_reported(finished):
    _, steps = finished
    assert [(s.epoch, s.step, s.val_accuracy is not None) for s in steps] == [
        row for epoch in range(3) for row in ((epoch, 1, False), (epoch, 2, False), (epoch, 2, True))
    ]
    assert all(s.epochs == 3 and s.steps == 2 for s in steps)  # 36 images make two whole batches of 16
    assert all(torch.isfinite(torch.tensor([s.loss, s.lr, s.seconds])).all() for s in steps)
    assert all(0 <= s.val_accuracy <= 100 for s in steps if s.val_accuracy is not None)


def test_the_learning_rate_warms_up_and_follows_the_cosine_of_each_stage(finished):
    rates = [s.lr for s in finished[1] if s.val_accuracy is None]
    assert rates[0] == pytest.approx(0.05)  # half an epoch of warm-up ends with the first of two steps
    assert rates[0] > rates[1] > rates[2] > rates[3] == pytest.approx(0, abs=1e-12)
    assert rates[4] == pytest.approx(0.01)
    stage = Stage(32, 32, 10, 1.0, 2.0)
    assert _lr(stage, 0.5) == 0.25
    assert _lr(stage, 2) == 1
    assert _lr(stage, 6) == pytest.approx(0.5)
    assert _lr(stage, 10) == pytest.approx(0)


def test_averaged_weights_make_a_working_model(finished, data, tmp_path):
    weights = averaged_weights(finished[0])
    parts = build("test_resnet", None, 3, 16)
    model = DualBranch(parts, Spec("test_resnet", ("a", "b", "c"), parts.preprocessing, parts.layer, 16))
    expected = {k for k in model.state_dict() if not k.endswith("num_batches_tracked")}
    assert weights.keys() == expected
    assert {v.dtype for k, v in weights.items() if k.startswith("trunk.") and v.ndim > 1} == {torch.float16}
    assert {v.dtype for k, v in weights.items() if not (k.startswith("trunk.") and v.ndim > 1)} == {torch.float32}
    model.load_state_dict(weights, strict=False)
    again = DualBranch.load(model.save(tmp_path / "m.safetensors", half=True))
    x = model.normalise(data[0])
    z = again(x)["softmax"]
    assert torch.equal(z, model(x)["softmax"])
    assert z.isfinite().all()


def test_the_accuracy_reported_is_of_the_averaged_weights(finished, data):
    parts = build("test_resnet", None, 3, 16)
    model = DualBranch(parts, Spec("test_resnet", ("a", "b", "c"), parts.preprocessing, parts.layer, 16))
    tensors, _ = checkpoints.read(finished[0])
    model.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("ema.")})
    hits = model(model.normalise(data[0]))["softmax"].argmax(1) == data[1]
    assert finished[1][-1].val_accuracy == pytest.approx(100 * hits.double().mean().item())


def test_the_recipe_learns_colours(data, tmp_path):
    recipe = replace(RECIPE, stages=(Stage(32, 32, 12, 0.05, 1.0),), jitter=0.0, ema=0.5)
    steps = list(run(data, tmp_path / "m.state", recipe))
    assert steps[-1].val_accuracy > 90
    assert steps[-1].loss < 0.8 * steps[0].loss


def test_a_run_closed_in_the_middle_goes_on_with_the_epoch_it_had_begun(data, tmp_path):
    state = tmp_path / "m.state"
    steps = run(data, state)
    for step in steps:
        if (step.epoch, step.step) == (1, 1):
            break
    steps.close()
    tensors, meta = checkpoints.read(state)
    assert meta["epochs_done"] == 1
    resumed = run(data, state)
    assert next(resumed).epoch == 1
    resumed.close()
    after = checkpoints.read(state)[0]
    assert all(torch.equal(v, after[k]) for k, v in tensors.items())  # an unfinished epoch changes no state
    rest = list(run(data, state))
    assert [s.epoch for s in rest if s.val_accuracy is not None] == [1, 2]
    assert checkpoints.read(state)[1]["epochs_done"] == 3
    assert list(run(data, state)) == []  # nothing is left to do


def test_resuming_starts_from_the_stored_weights_averages_and_momenta(data, tmp_path):
    """With a learning rate of zero nothing may move but BatchNorm's statistics: what was stored is what goes on."""
    state = tmp_path / "m.state"
    recipe = replace(RECIPE, stages=(Stage(32, 32, 3, 1e-12, 0.5),))
    steps = run(data, state, recipe)
    while next(steps).val_accuracy is None:
        pass
    steps.close()
    before, _ = checkpoints.read(state)
    assert any(k.startswith("mom.") and v.abs().max() > 0 for k, v in before.items())
    list(run(data, state, recipe))
    after, _ = checkpoints.read(state)
    for k, v in before.items():
        if k.startswith(("net.", "ema.")) and "running" not in k and v.is_floating_point():
            torch.testing.assert_close(after[k], v, rtol=0, atol=1e-9)
    mean = next(k for k in before if k.startswith("net.") and k.endswith("running_mean"))
    assert not torch.equal(before[mean], after[mean])


def test_a_stored_state_goes_back_into_network_average_and_optimizer(finished):
    tensors, _ = checkpoints.read(finished[0])
    model = _classifier(RECIPE, RECIPE.stages[-1], 3, torch.device("cpu"), tensors)
    optimizer, named = _optimizer(model, RECIPE), dict(model.net.named_parameters())
    for name, stored in tensors.items():
        kind, name = name.split(".", 1)
        now = {"net": model.net.state_dict, "ema": model.ema.module.state_dict}
        got = optimizer.state[named[name]]["momentum_buffer"] if kind == "mom" else now[kind]()[name]
        assert torch.equal(got, stored)
    assert {k.split(".", 1)[0] for k in tensors} == {"net", "ema", "mom"}
    decayed, spared = (group["params"] for group in optimizer.param_groups)
    assert {p.ndim > 1 for p in decayed} == {True}
    assert {p.ndim > 1 for p in spared} == {False}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [RECIPE.weight_decay, 0]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(data, tmp_path):
    """Images are augmented at random, so not to the bit; but momentum and averages lost would show."""
    recipe = replace(RECIPE, stages=(Stage(48, 32, 2, 0.02, 0.5),), jitter=0.0, crop_area=(1.0, 1.0), ema=0.9)
    torch.manual_seed(1)
    list(run(data, tmp_path / "whole.state", recipe))
    steps = run(data, tmp_path / "parts.state", recipe)
    while next(steps).val_accuracy is None:
        pass
    steps.close()
    list(run(data, tmp_path / "parts.state", recipe))
    whole, parts = (checkpoints.read(tmp_path / f"{name}.state")[0] for name in ("whole", "parts"))
    for kind in ("net.", "ema.", "mom."):
        pairs = [(v.flatten(), parts[k].flatten()) for k, v in whole.items() if k.startswith(kind) and v.ndim > 1]
        a, b = (torch.cat(side) for side in zip(*pairs))
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > (0.6 if kind == "mom." else 0.99)


def test_a_state_of_another_recipe_is_refused(finished, data, tmp_path):
    state = finished[0]
    before = state.read_bytes()
    for other in (replace(RECIPE, weight_decay=0.5), replace(RECIPE, stages=RECIPE.stages[:1])):
        message = refusal(lambda other=other: next(run(data, state, other)), CheckpointError)
        assert state.name in message
    foreign = checkpoints.write(tmp_path / "m.state", {"a": torch.ones(1)}, {"trunk": "x"})
    refusal(lambda: next(run(data, foreign)), CheckpointError)
    assert state.read_bytes() == before


def test_fewer_images_than_one_batch_are_refused(data, tmp_path):
    pixels, labels = data
    few = pixels[:15], labels[:15]
    message = refusal(lambda: next(pretrain(few, few, 3, RECIPE, tmp_path / "m.state")))
    assert "16" in message
    assert "15" in message
    assert not (tmp_path / "m.state").exists()


def test_classes_are_drawn_by_the_root_of_their_size():
    labels = torch.cat([torch.zeros(900, dtype=torch.int64), torch.ones(100, dtype=torch.int64)])
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    recipe = replace(RECIPE, batch=100)
    draw = lambda seed: [torch.cat([y for _, y in _loader(images, labels, Stage(4, 32, 1, 0.1, 0), recipe, seed, 0)])]
    (drawn,), (again,), (other,) = draw(0), draw(0), draw(1)
    assert len(drawn) == 1000
    assert 0.20 < drawn.double().mean() < 0.30  # sqrt(100) / (sqrt(100) + sqrt(900)) = 1/4
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)


def test_augmented_images_have_the_size_of_the_stage_and_vary():
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    dataset = Augmented(images, torch.tensor([7, 8]), 32, (0.3, 1.0), 0.3)
    (first, label), (second, _) = dataset[1], dataset[1]
    assert len(dataset) == 2
    assert first.shape == (3, 32, 32)
    assert first.dtype == torch.uint8
    assert label == 8
    assert not torch.equal(first, second)


def test_the_default_recipe_is_the_documented_one():
    """design.md, section 5, with what its trial wrote down."""
    recipe = Recipe()
    assert recipe.trunk == "resnet10t"
    assert recipe.stages[-1].size == 224
    assert recipe.stages[-1].output_stride == 16
    assert (recipe.batch, recipe.momentum, recipe.weight_decay, recipe.label_smoothing) == (64, 0.9, 1e-3, 0.1)
    assert recipe.describe()["stages"][0]["lr"] == 0.12


def test_precision_is_bfloat16_or_none():
    assert fast_precision(torch.device("cpu")) in (torch.bfloat16, None)
    assert fast_precision(torch.device("meta")) is None


def test_targets_are_labels(tmp_path):
    y = targets(read_class_folders(coloured(tmp_path, {"train": 2}) / "train"))
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    assert y.dtype == torch.int64
