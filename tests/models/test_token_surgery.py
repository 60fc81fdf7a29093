"""Grids of tokens become F, and the cut network computes what the uncut one does: timm's code, made narrow."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from toys import logits, refusal, shake

from bsoftmax.models import DualBranch, open_model, surgery, token_surgery
from bsoftmax.models.backbones import WeightsError, build
from bsoftmax.models.heads import GlobalAveragePool, one_linear, pools_first

THIN = {"embed_dim": 32, "depth": 3, "num_heads": 2}
CLASS, POOL = token_surgery.ClassTokenNeck, token_surgery.PatchPoolNeck
# name -> what makes it small, side of the image and of F, tokens kept aside, neck
NETS = {
    "deit_small_distilled_patch16_224": (THIN, 64, 4, 2, CLASS),
    "vit_small_patch14_dinov2": (THIN, 56, 4, 1, CLASS),
    "vit_small_patch14_reg4_dinov2": (THIN, 56, 4, 5, CLASS),
    "eva02_tiny_patch14_224": (THIN, 56, 4, 1, POOL),
    "vit_small_patch16_dinov3": (THIN, 64, 4, 5, POOL),
    "vit_small_patch16_rope_ape_224": (THIN, 64, 4, 1, token_surgery.RotaryNeck),
    "vit_small_patch16_rope_mixed_224": (THIN, 64, 4, 1, token_surgery.RotaryNeck),
    "beit_base_patch16_224": (THIN, 64, 4, 1, POOL),
    "cait_xxs24_224": (THIN, 64, 4, 1, token_surgery.ClassAttentionNeck),
    "xcit_nano_12_p16_224": (THIN, 64, 4, 1, CLASS),
    "convit_tiny": ({"embed_dim": 8, "depth": 3, "num_heads": 2, "local_up_to_layer": 1}, 64, 4, 1, CLASS),
    "coat_lite_tiny": ({"embed_dims": (16, 16, 32, 32)}, 64, 2, 1, token_surgery.ConvAttentionNeck),
    "mixer_s32_224": ({}, 64, 2, 0, GlobalAveragePool),
    "levit_128s": ({}, 128, 2, 0, GlobalAveragePool),
    "efficientformer_l1": ({"embed_dims": (16, 16, 32, 32), "depths": (1, 1, 1, 2)}, 224, 7, 0, GlobalAveragePool),
}
REFUSED = {
    "crossvit_tiny_240": ({"embed_dim": (16, 32), "num_heads": (2, 2), "depth": ((1, 1, 0),)}, 240, "grid of its own"),
    "coat_tiny": ({"embed_dims": (16, 32, 32, 32), "parallel_depth": 1}, 64, "3 grids"),
    "tnt_s_legacy_patch16_224": ({"depth": 1}, 224, "no norm before"),
}
CLASSES = {"num_classes": 7}


def thin(name, **options):
    more, side, *_ = {**NETS, **REFUSED}[name]
    size = {} if side > 200 else {"img_size": side}
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained_cfg_overlay={"input_size": (3, side, side)}, **more, **size, **options)
    return shake(net).eval()


@pytest.mark.parametrize("name", NETS)
def test_cut_network_equals_the_uncut_one(name):
    _, side, P, aside, neck = NETS[name]
    net = thin(name, **CLASSES)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    pieces = surgery.generic(copy.deepcopy(net))
    for part in pieces[:3]:
        part.eval()
    with torch.no_grad():
        expected = net(x)
        F, tokens = pieces.trunk(x)
        got = pieces.classifier(pieces.neck(F, tokens))
    between_images = float((expected[0] - expected[1]).abs().max())
    assert between_images > 1e-3 * expected.abs().max()  # it does look at the image
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert F.shape[2:] == (P, P)
    assert (0 if tokens is None else tokens.shape[1]) == aside
    assert type(pieces.neck) is neck
    leaf = F.detach().requires_grad_()
    (G,) = torch.autograd.grad(pieces.classifier(pieces.neck(leaf, tokens))[:, 2].sum(), leaf)
    assert (G.abs().amax(1) > 0).all()  # the logits depend on every position
    assert torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6 * float(G.abs().max())) == pools_first(pieces.neck)
    if neck is not POOL:  # a norm behind the pooling sees no scale: the sum is 0
        assert abs(float((G * F).sum())) > 1e-3 * float((G * F).abs().sum())


def test_patches_lie_where_they_are_in_the_image():
    """A change of one corner of the image changes the patch of that corner most, whatever stands before the patches."""
    for name in ("deit_small_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "cait_xxs24_224"):
        side = NETS[name][1]
        trunk = surgery.generic(thin(name)).trunk
        x = torch.zeros(1, 3, side, side)
        for corner in ((0, 0), (0, 3), (3, 0)):
            other = x.clone()
            p, q = (n * side // 4 for n in corner)
            other[..., p : p + side // 4, q : q + side // 4] = 3
            with torch.no_grad():
                change = (trunk(other)[0] - trunk(x)[0]).abs().sum(1)[0]
            assert divmod(int(change.argmax()), 4) == corner


def test_grids_need_not_be_square():
    assert token_surgery.grid_of(12, 96, 128) == (3, 4)
    assert token_surgery.grid_of(16, 64, 64) == (4, 4)
    assert "no grid" in refusal(lambda: token_surgery.grid_of(50, 224, 224))


def test_two_heads_that_are_averaged_are_one():
    """The mean of two linear layers, each behind a BatchNorm of its own, on one input, and on two of them."""
    net = shake(timm.create_model("levit_128s", **CLASSES)).eval()
    h = torch.randn(3, net.num_features)
    net.head, net.head_dist = net.head.eval(), net.head_dist.eval()
    torch.testing.assert_close(one_linear(net)(h), (net.head(h) + net.head_dist(h)) / 2)
    net = thin("deit_small_distilled_patch16_224", **CLASSES)
    h = torch.randn(3, 64)
    torch.testing.assert_close(one_linear(net, True)(h), (net.head(h[:, :32]) + net.head_dist(h[:, 32:])) / 2)


def test_a_vision_transformer_keeps_the_names_of_its_checkpoints():
    parts = build("test_vit", None, 3)
    names = {f"{part}.{k}" for part in ("trunk", "neck") for k in getattr(parts, part).state_dict()}
    last = {f"neck.block.{k}" for k in timm.create_model("test_vit").blocks[-1].state_dict()}
    assert last <= names
    assert {"trunk.norm.weight", "trunk.norm.bias", "neck.net.norm.weight"} <= names
    assert not [k for k in names if k.startswith("neck.") and k not in last and not k.startswith("neck.net.norm.")]


def test_the_two_copies_of_the_first_norm_stay_equal_when_moved_or_filled():
    parts = build("test_vit", None, 3)
    parts.neck.load_state_dict({k: torch.full_like(v, 2) for k, v in parts.neck.state_dict().items()})
    norm = parts.neck.block.norm1
    assert bool((norm.norm[0].weight == 2).all())
    parts.neck.double()
    assert norm.norm[0].weight.dtype is norm.weight.dtype is torch.float64
    assert copy.deepcopy(parts.neck).block.norm1.norm[0].weight is not norm.weight


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_cut_says_why(name):
    message = refusal(lambda: surgery.generic(thin(name)))
    assert REFUSED[name][-1] in message
    assert message.startswith(name)


# --- encoders without a softmax head ----------------------------------------------------------------------------------


def test_an_encoder_without_a_head_opens_for_training_alone(tmp_path, monkeypatch):
    name, weights = "eva02_tiny_patch14_224", None
    create = timm.create_model
    small = lambda name, **options: create(name, **options, **NETS[name][0], img_size=56)
    monkeypatch.setattr(timm, "create_model", small)
    message = refusal(lambda: open_model(name, weights), WeightsError)
    assert "without a softmax head" in message
    assert "bsoftmax train" in message
    model = open_model(name, weights, headless=True)
    assert model.classes == ()
    assert model.softmax.weight.shape == (0, 32)
    x = torch.randn(2, 3, 56, 56)
    trained = model.for_classes(("cat", "dog"))
    shake(trained.softmax)
    shake(trained.add_branch())
    trained.requires_grad_(False)
    opened = DualBranch.load(trained.save(tmp_path / "m.safetensors"))
    for branch, expected in trained(x).items():
        assert expected.shape == (2, 2)
        torch.testing.assert_close(opened(x)[branch], expected)


def test_what_is_cut_at_random_stays_what_it_was_after_moving_to_double():
    parts = build("test_vit", None, 3)
    x = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        before = logits(parts, x)
        for part in (parts.trunk, parts.neck, parts.classifier):
            part.double()
        torch.testing.assert_close(logits(parts, x.double()).float(), before)
