"""The cut network computes what the uncut one does; surgery has the paper's shapes; weights come from safe places."""

from __future__ import annotations

import os
import struct

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vgg import VGG, cfgs
from toys import refusal, shake

from bsoftmax.models import backbones, surgery
from bsoftmax.models.backbones import BACKBONES, WeightsError, build, find
from bsoftmax.models.heads import FlatGrid, GlobalAveragePool, clone_head, is_gap_linear, last_linear, pools_first

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
    "vit_tiny_patch16_224": (224, surgery.ClassTokenNeck, False),
    "test_vit": (160, surgery.ClassTokenNeck, False),
    "test_vit2": (160, surgery.PatchPoolNeck, True),  # register token, pooled patches, norm after the pooling
    "test_vit3": (160, surgery.PatchPoolNeck, False),  # attention pooling
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of local weights, and no network."""
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(backbones, "hf_hub_download", offline)
    return tmp_path


def offline(*_, **__):
    raise ConnectionError("no network in tests")


def uncut(name, path, **options):
    """The network as timm makes it, with no layer left at an identity, and a file of its weights."""
    torch.manual_seed(0)
    net = shake(timm.create_model(name, **options)).eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return net


def logits(parts, x):
    return parts.classifier(parts.neck(*parts.trunk(x)))


# --- the cut ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_cut_network_equals_the_uncut_one(name, tmp_path):
    size, neck, uniform = NETS[name]
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


def test_networks_without_maps_or_without_one_linear_layer_are_refused():
    assert "another trunk" in refusal(lambda: build("test_vit_relpos", None))
    assert "linear layer" in refusal(lambda: build("levit_128s", None))


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


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5", "resnet50"), ("vgg16cam", "vgg16_cam"), ("inceptionv3", "inception_v3")]
)
def test_unknown_names_give_near_ones(name, near):
    message = refusal(lambda: build(name, None))
    assert repr(name) in message
    assert near in message


def test_names_near_to_nothing_are_refused_too():
    assert "qqqqqqqq" in refusal(lambda: find("qqqqqqqq"))
    assert "None" not in refusal(lambda: find("qqqqqqqq"))


def test_unknown_tags_of_a_known_network_are_refused(folder):
    for weights in ("hub", None):
        assert "resnet50.no_such_tag" in refusal(lambda weights=weights: build("resnet50.no_such_tag", weights))


def test_every_entry_names_a_timm_model_with_weights_on_the_hub():
    for name, entry in BACKBONES.items():
        cfg = timm.get_pretrained_cfg(entry.timm)
        assert find(name) is entry
        assert cfg.hf_hub_id or name == "resnet10t"
        assert entry.note


def test_any_other_timm_name_is_cut_at_stride_16_where_it_can_be():
    with torch.no_grad():  # which must not keep a network from being cut
        assert build("test_resnet", None, 3).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (6, 6)
        assert build("test_resnet", None, 3, stride=32).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (3, 3)
        assert build("test_mambaout", None, 3).trunk(torch.zeros(1, 3, 96, 96))[0].shape[2:] == (3, 3)


def test_classes_have_names():
    assert build("test_resnet", None).classes[:2] == ("tench", "goldfish")
    assert len(set(build("test_resnet", None).classes)) > 990
    assert build("test_resnet", None, num_classes=2).classes == ("class 0", "class 1")


# --- weights ----------------------------------------------------------------------------------------------------------


def test_missing_weights_offline_say_what_to_bring_and_where(folder):
    message = refusal(lambda: build("resnet50"), WeightsError)
    assert "timm/resnet50.tv_in1k" in message
    assert "model.safetensors" in message
    assert str(folder / "resnet50.tv_in1k.safetensors") in message
    assert ". " not in message


def test_following_that_advice_works(folder):
    advised = refusal(lambda: build("test_resnet"), WeightsError).split("'")[-2]
    net = uncut("test_resnet", advised)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(logits(build("test_resnet", stride=32), x), net(x), rtol=1e-4, atol=1e-4)


def test_a_new_classifier_on_local_weights_keeps_the_trunk(folder):
    net = uncut("test_resnet", folder / "test_resnet.safetensors")
    parts = build("test_resnet", num_classes=3)
    assert last_linear(parts.classifier).out_features == 3
    assert torch.equal(parts.trunk.state_dict()["net.conv1.0.weight"], net.state_dict()["conv1.0.weight"])


def test_the_hub_is_asked_for_the_safetensors_file(monkeypatch, tmp_path):
    monkeypatch.setenv("BSOFTMAX_WEIGHTS", str(tmp_path / "nothing"))
    net, asked = uncut("test_resnet", tmp_path / "cached"), []
    monkeypatch.setattr(backbones, "hf_hub_download", lambda *a, **_: asked.append(a) or str(tmp_path / "cached"))
    parts = build("test_resnet")
    assert asked == [(timm.get_pretrained_cfg("test_resnet").hf_hub_id, "model.safetensors")]
    assert torch.equal(parts.classifier.weight, net.fc.weight)


class Trap:
    """Unpickling this creates a file: proof that something was unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_under_a_safe_name_is_refused_and_never_opened(folder):
    path = folder / "test_resnet.safetensors"
    torch.save({"conv1.weight": Trap(str(folder / "sprung"))}, path)
    for weights in ("hub", path):
        message = refusal(lambda weights=weights: build("test_resnet", weights), WeightsError)
        assert "test_resnet.safetensors" in message
        assert "pickled" in message
    (folder / "w.bin").write_bytes(path.read_bytes())
    refusal(lambda: build("test_resnet", folder / "w.bin"), WeightsError)  # torch.load looks at the name, we do not
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"{}", struct.pack("<Q", 1 << 60), b"\x00" * 100])
def test_damaged_weights_are_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    assert "w.safetensors" in refusal(lambda: build("test_resnet", tmp_path / "w.safetensors"), WeightsError)


def test_a_missing_file_of_weights_is_named(tmp_path):
    assert "nowhere.safetensors" in refusal(
        lambda: build("test_resnet", tmp_path / "nowhere.safetensors"), WeightsError
    )


@pytest.mark.parametrize("damage", ["another network", "shape", "missing"])
def test_weights_that_do_not_fit_are_refused_and_the_misfit_is_named(damage, tmp_path):
    path = tmp_path / "w.safetensors"
    state = timm.create_model("test_convnext" if damage == "another network" else "test_resnet").state_dict()
    if damage == "shape":
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:1]
    if damage == "missing":
        del state["layer1.0.conv1.weight"]
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    message = refusal(lambda: build("test_resnet", path), WeightsError)
    assert "test_resnet" in message
    if damage != "another network":
        assert "layer1.0.conv1.weight" in message


# --- branches of heads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_clone_head_repeats_the_architecture_with_its_own_numbers(name):
    from toys import HEADS

    head = HEADS["gap" if name == "linear" else "mlp"]()[2].requires_grad_(False)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    torch.manual_seed(0)
    fresh, clone = clone_head(head), clone_head(head, "clone")
    assert str(fresh) == str(head)
    assert all(p.requires_grad for branch in (fresh, clone) for p in branch.parameters())
    assert all(torch.equal(v, before[k]) for k, v in clone.state_dict().items())
    assert all((v == 0).all() for k, v in fresh.state_dict().items() if k.endswith("bias"))
    weights = torch.cat([v.flatten() for k, v in fresh.state_dict().items() if k.endswith("weight")])
    assert 0.005 < float(weights.std()) < 0.015
    with torch.no_grad():
        for p in [*fresh.parameters(), *clone.parameters()]:
            p += 1
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    assert "warm" in refusal(lambda: clone_head(head, "warm"))


def test_last_linear_is_the_one_that_makes_the_logits():
    from toys import HEADS

    mlp = HEADS["mlp"]()[2]
    assert last_linear(mlp) is mlp[6]
    assert "ReLU" in refusal(lambda: last_linear(torch.nn.ReLU()))
