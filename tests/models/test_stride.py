"""A lifted network is the network sampled densely: at every second position its maps are the old ones."""

from __future__ import annotations

import pytest
import timm
import torch
from toys import shake

from bsoftmax.models import DualBranch, stride, surgery
from bsoftmax.models.backbones import build, find

SMALL_DENSENET = {"growth_rate": 8, "block_config": (1, 1, 2, 2)}
# name -> options, side of the image
LIFTED = {
    "densenet121": (SMALL_DENSENET, 96),  # its last halving is an average over 2x2
    "dla46x_c": ({}, 96),  # a strided convolution, and pools of 2x2 beside it
    "mobilenetv3_small_050": ({}, 128),  # 5x5 kernels behind, and squeeze-and-excitation
}


def network(name, **options):
    torch.manual_seed(0)
    return shake(timm.create_model(name, num_classes=3, **options)).eval()


def constant_gates(net):
    """Makes squeeze-and-excitation independent of what it averages over: what a lift changes by design."""
    for name, module in net.named_modules():
        if name.endswith((".se", ".attn")):
            for p in module.parameters():
                torch.nn.init.zeros_(p)


@pytest.mark.parametrize("name", LIFTED)
@torch.no_grad()
def test_a_lift_keeps_every_old_position_and_adds_those_between(name):
    options, side = LIFTED[name]
    net = network(name, **options)
    constant_gates(net)
    x = torch.randn(1, 3, side, side)
    before = net.forward_features(x)
    said = stride.lift(net, 16)
    after = net.forward_features(x)
    assert "at stride 1" in said
    assert before.shape[2:] == (side // 32, side // 32)
    assert after.shape[2:] == (side // 16, side // 16)
    torch.testing.assert_close(after[..., ::2, ::2], before, rtol=1e-4, atol=1e-5 * float(before.abs().max()))
    between = after[..., 1::2, 1::2] - before
    assert between.abs().max() > 1e-3 * before.abs().max()  # positions of their own, not copies
    assert stride.lift(net, 16) == ""


@pytest.mark.parametrize("steps", [1, 2])
@torch.no_grad()
def test_a_lift_is_timms_own_output_stride_where_timm_has_one(steps):
    """timm's ResNets with average pools beside their strides differ at the border, which timm pads with zeros."""
    net, own = (network("test_efficientnet", output_stride=s) for s in (32, 32 >> steps))
    own.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 128, 128)
    assert stride.lift(net, 32 >> steps).count("at stride 1") == steps
    torch.testing.assert_close(net(x), own(x), rtol=1e-4, atol=1e-5 * float(own(x).abs().max()))


@pytest.mark.parametrize(("name", "why"), [("test_vit", "one grid"), ("test_maxvit", "attends over a grid")])
@torch.no_grad()
def test_what_stays_says_why_and_is_as_it_was(name, why):
    net = network(name)
    side = net.pretrained_cfg["input_size"][-1]
    x = torch.randn(1, 3, side, side)
    before = net(x)
    said = stride.lift(net, 16 if name == "test_vit" else 8)
    assert said.startswith("not lifted: ")
    assert why in said
    assert torch.equal(net(x), before)


@torch.no_grad()
def test_any_vgg_loses_its_last_pool_as_the_papers_does():
    with torch.device("meta"):
        parts = build("vgg11_bn", None, 3, stride=16)
        F, tokens = parts.trunk(torch.zeros(1, 3, 224, 224))
        assert F.shape == (1, 512, 14, 14)
        assert parts.classifier(parts.neck(F, tokens)).shape == (1, 3)
    assert "the paper's VGG" in parts.lifted


def test_recording_leaves_nothing_behind():
    net = network("test_resnet")
    with stride.recorded(net) as calls:
        surgery.features(net)
    assert calls[0].before == surgery.PROBE
    assert not any("forward" in vars(m) for m in net.modules())
    count = len(calls)
    surgery.features(net)
    assert len(calls) == count


def test_a_model_says_its_stride_and_opens_with_it_again(tmp_path):
    """A file that says none was made before strides were lifted: its network keeps its own."""
    name = "mobilenetv3_small_050"
    assert find(name).stride == 16
    model = DualBranch.pretrained(name, None)
    assert model.spec.stride == 16
    model = model.for_classes(("cat", "dog"))
    model.spec.origin["trunk"] = "file"
    x = torch.randn(1, 3, 96, 96)
    assert model.features(x)[0].shape[2:] == (6, 6)
    opened = DualBranch.load(model.save(tmp_path / "new.safetensors"))
    torch.testing.assert_close(opened(x), model(x))
    assert build(name, None, 2).trunk(x)[0].shape[2:] == (3, 3)
