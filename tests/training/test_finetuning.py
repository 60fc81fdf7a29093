"""Fine-tuning moves the softmax head and the last stage, nothing else; it learns, resumes, and freezes again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from toys import coloured, randomise, refusal, small_model

from bsoftmax.data import loader
from bsoftmax.data.sets import DataError, read_splits
from bsoftmax.models import backbones, surgery
from bsoftmax.models.backbones import Parts
from bsoftmax.models.checkpoints import CheckpointError
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.heads import GlobalAveragePool
from bsoftmax.models.spec import Spec
from bsoftmax.training import finetuning as module
from bsoftmax.training.finetuning import FinetuneConfig, finetune, last_stage

QUICK = FinetuneConfig(epochs=3, batch=4, lr=0.01)


@pytest.fixture
def sets(tmp_path):
    return read_splits(coloured(tmp_path / "data", {"train": 3, "val": 2}))


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """float32 everywhere: the numbers compared are then the same on every processor."""
    monkeypatch.setattr(module, "fast_precision", lambda device: None)


def model_of(train, trunk="test_resnet"):
    model = small_model(train.classes, trunk)
    torch.manual_seed(0)
    nn.init.normal_(model.softmax.weight, std=0.01)
    return model


def state_of(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


# --- which part -------------------------------------------------------------------------------------------------------

STAGES = {
    "test_resnet": ["trunk.net.layer4."],
    "resnet10t": ["trunk.net.layer4."],
    "resnet50": ["trunk.net.layer4."],
    "convnext_atto": ["trunk.net.stages.3.", "neck.net.head.norm.weight", "neck.net.head.norm.bias"],
    "inception_v3": ["trunk.net.Mixed_7a.", "trunk.net.Mixed_7b.", "trunk.net.Mixed_7c."],
    "efficientnet_b0": ["trunk.net.blocks.6.", "trunk.net.conv_head.", "trunk.net.bn2."],
    "densenet121": ["trunk.net.features.denseblock4.", "trunk.net.features.norm5."],
    "regnety_002": ["trunk.net.s4."],
    "swin_tiny_patch4_window7_224": ["trunk.net.layers.3.", "trunk.net.norm."],
}


def built(trunk):
    parts = backbones.build(trunk, None, 3)
    return DualBranch(parts, Spec(trunk, parts.classes, parts.preprocessing, parts.layer))


@pytest.mark.parametrize("trunk", STAGES)
def test_the_last_stage_of_many_networks(trunk):
    model = built(trunk)
    assert last_stage(model) == STAGES[trunk]
    names = [name for name, _ in model.named_parameters()]
    assert all(any(name.startswith(one) for name in names) for one in last_stage(model))


def test_the_last_blocks_of_a_transformer_but_not_the_layer_it_has_twice():
    found = last_stage(built("test_vit"))
    assert found[0] == "trunk.net.blocks.4."
    assert "neck.block.attn.qkv.weight" in found
    assert "neck.net.norm.weight" in found
    assert not [name for name in found if "norm1" in name or name.startswith("trunk.norm")]


def few_channels(conv6):
    """VGG's plan with few channels: conv, pool, conv, conv (and conv6)."""
    layers = [nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()] if conv6 else []))


@pytest.mark.parametrize(("conv6", "expected"), [(False, ["3", "5"]), (True, ["3", "5", "7"])])
def test_vgg_s_last_block_and_its_fresh_conv6(conv6, expected, sets):
    stack = few_channels(conv6)
    parts = Parts(surgery.Features(stack), GlobalAveragePool(), nn.Linear(8 if conv6 else 6, 3),
                  backbones.Preprocessing(32), "conv6", sets[0].classes)  # fmt: skip
    model = DualBranch(parts, Spec("vgg16_cam", sets[0].classes, parts.preprocessing, "conv6"))
    assert last_stage(model) == [f"trunk.net.{n}." for n in expected]
    before = state_of(model)
    list(finetune(model, sets[0], QUICK))
    moved = {k.rsplit(".", 1)[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {*(f"trunk.net.{n}" for n in expected), "softmax"}


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trunk", ["test_resnet", "test_convnext", "test_vit"])
def test_nothing_moves_but_the_last_stage_and_the_head(trunk, sets):
    model = model_of(sets[0], trunk)
    chosen, before = ("softmax.", *last_stage(model)), state_of(model)
    ticks = []
    epochs = list(finetune(model, *sets[:1], QUICK, sets[1], tick=lambda *at: ticks.append(at)))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    trained = {k for k, _ in model.named_parameters() if k.startswith(chosen)}
    assert moved == trained  # so BatchNorm's statistics stand still, too
    assert [e.epoch for e in epochs] == [1, 2, 3]
    assert ticks == [(9 * e + n, 27) for e in range(3) for n in (4, 8, 9)]
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())


def test_it_learns_and_reports_what_the_model_itself_answers(sets):
    train, val = sets
    model = model_of(train)
    *_, last = finetune(model, train, dataclasses.replace(QUICK, epochs=15, lr=0.02), val)
    x = torch.cat([model.preprocess(loader.decoded.__globals__["read_rgb"](path)) for path in val.paths])
    right = model(x)["softmax"].argmax(1) == torch.tensor(val.labels)
    assert last.val_accuracy == pytest.approx(100 * right.double().mean().item())
    assert last.accuracy > 80
    assert last.val_accuracy > 80
    assert last.recalled == pytest.approx([100 * right[2 * k : 2 * k + 2].double().mean().item() for k in range(3)])


def test_one_step_is_gradient_descent_on_cross_entropy(sets):
    """The whole set in one batch, no momentum: the parameters move against the gradient by the learning rate."""
    train = sets[0]
    model, twin = model_of(train), model_of(train)
    config = FinetuneConfig(epochs=1, batch=9, lr=0.01, momentum=0.0, weight_decay=0.0, seed=4)
    (epoch,) = finetune(model, train, config)
    order = np.random.default_rng([4, 0]).permutation(9)
    ((pixels, _),) = loader.decoded(train, [order], twin.spec.preprocessing.size)
    x = twin.normalise(loader.view_of(pixels, 2, order, 4))
    twin.requires_grad_(True)
    logits = twin.softmax(twin.neck(*twin.trunk(x)))
    loss = nn.functional.cross_entropy(logits, torch.tensor(train.labels)[order])
    assert epoch.loss == pytest.approx(loss.item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, twin.softmax.weight)
    torch.testing.assert_close(model.softmax.weight.detach(), (twin.softmax.weight - 0.01 * gradient).detach(),
                               rtol=1e-4, atol=1e-6)  # fmt: skip


def test_the_file_carries_the_trunk_and_an_older_branch_is_dropped(sets, tmp_path):
    model = model_of(sets[0])
    model.spec = dataclasses.replace(model.spec, origin={"trunk": "hub", "softmax": "hub"})
    list(finetune(model, sets[0], dataclasses.replace(QUICK, epochs=1)))
    assert model.sigmoid is None
    assert model.spec.origin == {}
    again = DualBranch.load(model.save(tmp_path / "m.safetensors"))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(again(x)["softmax"], model(x)["softmax"])


def test_pictures_that_cannot_be_read_take_no_part(sets):
    train, val = sets
    train.paths[4].write_bytes(b"not a picture")
    val.paths[0].write_bytes(b"not a picture")
    (epoch,) = finetune(model_of(train), train, dataclasses.replace(QUICK, epochs=1), val)
    assert epoch.accuracy * 8 / 100 == pytest.approx(round(epoch.accuracy * 8 / 100))
    assert epoch.val_accuracy * 5 / 100 == pytest.approx(round(epoch.val_accuracy * 5 / 100))
    for path in train.paths:
        path.write_bytes(b"not a picture")
    assert "None of the 9" in refusal(lambda: list(finetune(model_of(train), train, QUICK)), DataError)


def test_a_stop_is_heard_within_a_batch_and_leaves_all_frozen(sets):
    model, asked = model_of(sets[0]), []
    before = state_of(model)

    def stop():
        asked.append(1)
        return len(asked) == 5

    epochs = list(finetune(model, sets[0], QUICK, stop=stop))
    assert (len(epochs), len(asked)) == (1, 5)
    assert not torch.equal(model.softmax.weight, before["softmax.weight"])
    assert not any(p.requires_grad for p in model.parameters())


def test_leaving_early_leaves_all_frozen(sets):
    model = model_of(sets[0])
    for _ in finetune(model, sets[0], QUICK):
        break
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())


def test_training_that_diverges_says_so(sets):
    model = model_of(sets[0])
    randomise(model.softmax, 100)
    config = dataclasses.replace(QUICK, lr=1e20)
    assert "learning rate" in refusal(lambda: list(finetune(model, sets[0], config)))


# --- states -----------------------------------------------------------------------------------------------------------


def facts(epochs):
    return [(e.epoch, e.loss, e.accuracy, e.val_accuracy, e.recalled) for e in epochs]


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_run_that_goes_on_equals_one_that_was_never_stopped(done, sets, tmp_path):
    whole, first, second = (model_of(sets[0]) for _ in range(3))
    expected = list(finetune(whole, sets[0], QUICK, sets[1]))
    steps = finetune(first, sets[0], QUICK, sets[1], tmp_path / "s")
    for _ in range(done):
        next(steps)
    steps.close()
    randomise(second.softmax)
    got = list(finetune(second, sets[0], QUICK, sets[1], tmp_path / "s"))
    assert facts(got) == facts(expected)
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in second.state_dict().items())


def test_another_run_s_state_is_refused(sets, tmp_path):
    list(finetune(model_of(sets[0]), sets[0], dataclasses.replace(QUICK, epochs=1), state=tmp_path / "s"))
    other = model_of(sets[0])
    with torch.no_grad():
        next(other.trunk.parameters()).mul_(2)
    for model, train, config in (
        (model_of(sets[0]), sets[0], QUICK),
        (model_of(sets[0]), sets[1], dataclasses.replace(QUICK, epochs=1)),
        (other, sets[0], dataclasses.replace(QUICK, epochs=1)),
    ):
        call = lambda: list(finetune(model, train, config, state=tmp_path / "s"))  # noqa: B023
        assert "another run" in refusal(call, CheckpointError)
