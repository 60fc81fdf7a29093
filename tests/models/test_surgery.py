"""The cut network computes what the uncut one does; surgery has the paper's shapes."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.vgg import VGG, cfgs
from toys import logits, refusal, shake, uncut

from bsoftmax.models import surgery, token_surgery
from bsoftmax.models.backbones import build
from bsoftmax.models.heads import FlatGrid, GlobalAveragePool, is_gap_linear, last_linear, pools_first

# name -> input size, neck, whether the head pools first, NHWC inside
NETS = {
    "resnet10t": (96, GlobalAveragePool, True),
    "regnetx_002": (96, GlobalAveragePool, True),
    "densenet121": (64, GlobalAveragePool, True),
    "efficientnet_b0": (64, GlobalAveragePool, True),
    "convnext_atto": (96, surgery.TimmNeck, True),  # LayerNorm after the pooling
    "mobilenetv3_small_050": (96, surgery.TimmNeck, True),  # a convolution and an activation after the pooling
    "ghostnet_100": (64, surgery.TimmNeck, True),
    "test_mambaout": (96, surgery.TimmNeck, True),  # channels last
    "swin_tiny_patch4_window7_224": (224, GlobalAveragePool, True),  # channels last
    "test_maxvit": (160, GlobalAveragePool, True),
    "vit_tiny_patch16_224": (224, token_surgery.ClassTokenNeck, False),
    "test_vit": (160, token_surgery.ClassTokenNeck, False),
    "test_vit2": (160, token_surgery.PatchPoolNeck, True),  # register token, pooled patches, norm after the pooling
    "test_vit3": (160, token_surgery.PatchPoolNeck, False),  # attention pooling
}
THIN = {  # fewer and narrower layers of the same code
    "densenet121": {"growth_rate": 8, "block_config": (1, 1, 2, 2)},
    "swin_tiny_patch4_window7_224": {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)},
    "vit_tiny_patch16_224": {"depth": 3},
}


# --- the cut ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_cut_network_equals_the_uncut_one(name, tmp_path, monkeypatch):
    size, neck, uniform = NETS[name]
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **more: create(name, **THIN.get(name, {}), **more))
    net = uncut(name, tmp_path / "w.safetensors")
    parts = build(name, tmp_path / "w.safetensors", stride=32)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = net(x), logits(parts, x)
        between_images = float((expected[0] - expected[1]).abs().max())
        assert between_images > 1e-3 * expected.abs().max()  # it does look at the image
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-3 * between_images)
    assert type(parts.neck) is neck
    assert pools_first(parts.neck) == uniform
    modules = [m for part in (parts.trunk, parts.neck, parts.classifier) for m in part.modules()]
    assert not any(m.training for m in modules)
    assert not any(p.requires_grad for m in modules for p in m.parameters())


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv3_small_050", "test_mambaout", "test_vit", "test_vit2"])
def test_the_trunk_gives_maps_and_the_neck_sees_every_position(name):
    torch.manual_seed(0)
    parts = build(name, None, num_classes=5, stride=32)
    for part in (parts.trunk, parts.neck, parts.classifier):
        shake(part)
    size = 160 if "vit" in name else 96
    F, tokens = parts.trunk(torch.randn(2, 3, size, size))
    P = size // (16 if "vit" in name else 32)
    h = parts.neck(F, tokens)
    assert F.shape[2:] == (P, P)
    assert h.shape == (2, last_linear(parts.classifier).in_features)
    leaf = F.detach().requires_grad_()
    (G,) = torch.autograd.grad(parts.classifier(parts.neck(leaf, tokens))[:, 2].sum(), leaf)
    assert (G.abs().amax(1) > 0).all()
    same = torch.allclose(G, G[..., :1, :1].expand_as(G), atol=1e-6 * float(G.abs().max()), rtol=1e-4)
    assert same == pools_first(parts.neck)


def test_no_parameter_is_kept_twice_or_lost():
    """What the neck owns is gone from the trunk; together the three parts hold what timm's network holds."""
    for name in ("convnext_atto", "mobilenetv3_small_050", "test_mambaout", "resnet10t", "test_vit2"):
        parts = build(name, None)
        count = sum(p.numel() for part in (parts.trunk, parts.neck, parts.classifier) for p in part.parameters())
        assert count == sum(p.numel() for p in timm.create_model(name).parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_vit3"])
def test_the_gradient_at_the_patches_agrees_with_finite_differences(name):
    torch.manual_seed(0)
    parts = build(name, None, num_classes=5)
    trunk, neck, head = (shake(part).double() for part in (parts.trunk, parts.neck, parts.classifier))
    F, tokens = trunk(torch.randn(1, 3, 160, 160, dtype=torch.float64))
    F, tokens = F.detach().requires_grad_(), tokens.detach()
    score = lambda F: head(neck(F, tokens))[0, 3]
    (G,) = torch.autograd.grad(score(F), F)
    G, F = G.detach(), F.detach()
    with torch.no_grad():
        for seed in range(5):
            d = torch.randn(F.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            slope = (score(F + 1e-5 * d) - score(F - 1e-5 * d)) / 2e-5
            torch.testing.assert_close(slope, (G * d).sum(), rtol=1e-6, atol=1e-9)
    assert (G.abs().amax(1) > 0).all()
    assert abs(float((G * F).sum())) > 1e-3 * float((G * F).abs().sum())  # before the norm this sum is zero


def test_logits_of_another_layer_are_refused():
    """A network whose last linear layer does not make its logits once gave others than timm's."""
    net = timm.create_model("test_resnet", num_classes=3)
    forward = net.forward_head
    net.forward_head = lambda x, pre_logits=False: forward(x, pre_logits) if pre_logits else forward(x).square()
    assert "not those of its last linear layer" in refusal(lambda: surgery.generic(net))


# --- surgery ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "channels"), [("resnet50", 2048), ("inception_v3", 2048), ("resnet10t", 512)])
def test_maps_are_14x14_at_224(name, channels):
    parts = build(name, None, num_classes=3)
    with torch.no_grad():
        F, tokens = parts.trunk(torch.zeros(1, 3, 224, 224))
    assert F.shape == (1, channels, 14, 14)
    assert tokens is None
    assert parts.preprocessing.size == 224
    assert is_gap_linear(parts.neck, parts.classifier)
    assert logits(parts, torch.zeros(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize(("name", "channels", "gap"), [("vgg16", 512, False), ("vgg16_cam", 1024, True)])
def test_vgg_maps_are_14x14_at_224(name, channels, gap):
    """On torch's "meta" device, where 138 million parameters cost nothing: shapes only."""
    with torch.device("meta"):
        parts = build(name, None, num_classes=3)
        F, _ = parts.trunk(torch.zeros(1, 3, 224, 224))
        assert F.shape == (1, channels, 14, 14)
        assert logits(parts, torch.zeros(1, 3, 224, 224)).shape == (1, 3)
    assert is_gap_linear(parts.neck, parts.classifier) == gap
    linears = [(m.in_features, m.out_features) for m in parts.classifier.modules() if isinstance(m, torch.nn.Linear)]
    assert linears == ([(1024, 3)] if gap else [(25088, 4096), (4096, 4096), (4096, 3)])


@pytest.fixture
def thin_vgg():
    """timm's VGG with 16 hidden units instead of 4096 in its first dense layer: same code, a hundredth of the size."""
    torch.manual_seed(0)
    return shake(VGG(cfgs["vgg11"], num_classes=7, mlp_ratio=1 / 256)).eval().double()


def test_vgg_mlp_equals_timms_own_classifier_on_7x7_maps(thin_vgg):
    F = torch.randn(2, 512, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = thin_vgg.head(thin_vgg.pre_logits(F))
        _, neck, classifier, _ = surgery.vgg16(thin_vgg)
        torch.testing.assert_close(classifier.double().eval()(neck(F)), expected)


def test_vgg_without_its_pool_is_vgg_once_the_pool_is_put_back(thin_vgg):
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        expected = thin_vgg(x)
        trunk, neck, classifier, _ = surgery.vgg16(thin_vgg)
        F, _ = trunk(x)
        assert F.shape == (1, 512, 14, 14)
        assert isinstance(neck, FlatGrid)
        pooled = torch.nn.functional.max_pool2d(F, 2)
        torch.testing.assert_close(classifier.double().eval()(neck(pooled)), expected)
        averaged = torch.nn.functional.avg_pool2d(F, 2).flatten(1)
        torch.testing.assert_close(neck(F), averaged)  # the surgery itself: 14x14 averaged to the MLP's 7x7


@pytest.mark.parametrize("cut", [surgery.vgg16_cam, surgery.vgg16])
def test_vgg_trunks_keep_the_public_convolutions_and_end_in_relu(cut, thin_vgg):
    public = [m.weight.clone() for m in thin_vgg.features if isinstance(m, torch.nn.Conv2d)]
    pieces = cut(thin_vgg)
    kept = [m.weight for m in pieces.trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(torch.equal(a, b) for a, b in zip(public, kept))
    assert len(kept) == len(public) + (cut is surgery.vgg16_cam)
    assert (pieces.trunk.double()(torch.randn(1, 3, 64, 64, dtype=torch.float64))[0] >= 0).all()


def test_surgery_keeps_the_weights_and_changes_only_strides(tmp_path):
    """With the strides put back, ResNet-50 after surgery is timm's ResNet-50."""
    net = uncut("resnet50", tmp_path / "w.safetensors", num_classes=4)
    pieces = surgery.resnet50(net)
    untouched = timm.create_model("resnet50", num_classes=4).eval()
    untouched.load_state_dict({**net.state_dict(), **{f"fc.{k}": v for k, v in pieces.classifier.state_dict().items()}})
    for conv in (net.layer4[0].conv2, net.layer4[0].downsample[0]):
        assert conv.stride == (1, 1)
        conv.stride = (2, 2)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(pieces.classifier(pieces.neck(*pieces.trunk(x))), untouched(x), rtol=1e-4, atol=1e-3)


def test_flat_inception_reductions_are_the_strided_ones_sampled_densely():
    """Every second position of Mixed_7a at stride 1 is timm's block at stride 2; Mixed_6a the same, behind a pool."""
    torch.manual_seed(0)
    dense, strided = (shake(timm.create_model("inception_v3", num_classes=2)).eval() for _ in range(2))
    strided.load_state_dict(dense.state_dict())
    surgery.inception_v3(dense)
    with torch.no_grad():
        F = torch.rand(1, 768, 9, 9)
        torch.testing.assert_close(dense.Mixed_7a(F)[:, :, 1:-1:2, 1:-1:2], strided.Mixed_7a(F))
        F = torch.rand(1, 288, 17, 17)
        halved = torch.nn.functional.max_pool2d(F, 3, stride=2, padding=1, ceil_mode=True)
        torch.testing.assert_close(dense.Mixed_6a(F)[:, :, 1:-1:2, 1:-1:2], strided.Mixed_6a(halved))
