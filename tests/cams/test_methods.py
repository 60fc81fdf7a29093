"""Every method, source and clamp against slow loops and pytorch-grad-cam; the theory's identities."""

from functools import cache
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import reference as ref
import torch
from looks_made import K, close, model_of
from torch import nn
from toys import HEADS, C, N, images, shake, toy

from bsoftmax.cams import methods as cam_methods
from bsoftmax.cams.channels import eigencam
from bsoftmax.cams.methods import METHODS, class_map, explain, identical_by_construction, unavailable
from bsoftmax.cams.sources import SOURCES
from bsoftmax.cams.view import View
from bsoftmax.models.backbones import build
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.models.spec import Spec

GRADIENT = {key: (lambda case, alpha=alpha: alpha(case.F, case.G)) for key, alpha in ref.ALPHAS.items()}
REFERENCES = GRADIENT | {
    "ablationcam": lambda case: ref.ablationcam(case.F, case.score),
    "scorecam": lambda case: ref.scorecam(case.F, case.x, case.score_of_image),
    "eigencam": lambda case: ref.eigencam(case.F),
}
CLASS_FREE = {"eigencam"}  # weights without a meaningful sign: never clamped, and the features are centred
PAPER_CLAMP = {"softmax": False, "sigmoid": True, "log-odds": False, "centred": False}
LAYOUTS = [("gap", "4x4"), ("gap", "5x3"), ("mlp", "4x4"), ("mlp", "5x3"), ("token", "4x4"), ("norm", "4x4")]


@cache
def case(head, maps, source, b):
    """What the loops may know of image b: its features, the numeric gradient of the score, and the score itself."""
    model, x = model_of(head, maps), images()
    branch = model.sigmoid if source == "sigmoid" else model.softmax
    F, tokens = (None if t is None else t[b] for t in model.trunk(x))

    def score_of(F, tokens):
        z = branch(model.neck(torch.as_tensor(F)[None], tokens if tokens is None else tokens[None]))[0]
        return float(ref.SCORES[source](z.tolist(), int(K[b])))

    def score_of_image(x):
        F, tokens = model.trunk(torch.as_tensor(x)[None])
        return score_of(F[0], tokens if tokens is None else tokens[0])

    score = lambda F: score_of(F, tokens)
    F = F.numpy()
    return SimpleNamespace(
        F=F, x=x[b].numpy(), score=score, score_of_image=score_of_image, G=ref.numeric_gradient(score, F)
    )


@cache
def alpha_of(method, head, maps, source, b):
    return REFERENCES[method](case(head, maps, source, b))


# --- against the loops ------------------------------------------------------------------------------------------------


def test_every_method_has_a_reference_and_every_reference_a_method():
    assert {m for m in METHODS if not METHODS[m].more} == REFERENCES.keys()  # the others: test_more_methods.py
    assert SOURCES.keys() == ref.SCORES.keys() == PAPER_CLAMP.keys()
    assert all(key == entry.key == cam_methods.find(key).key for key, entry in METHODS.items())


@pytest.mark.parametrize("clamp", [None, True, False])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("head", "maps"), LAYOUTS)
@pytest.mark.parametrize("method", REFERENCES)
def test_map_agrees_with_reference(method, head, maps, source, clamp):
    model = model_of(head, maps)
    if unavailable(model, method):
        assert method == "cam"
        assert head != "gap"
        return
    S = explain(model, images(), K, method, source, clamp)
    clamped = (PAPER_CLAMP[source] if clamp is None else clamp) and method not in CLASS_FREE
    for b in range(2):
        F = ref.centred(case(head, maps, source, b).F) if method in CLASS_FREE else case(head, maps, source, b).F
        close(S[b], ref.evidence(alpha_of(method, head, maps, source, b), F, clamped), 1e-6)
    assert S.shape == (2, *map(int, maps.split("x")))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("head", HEADS)
def test_gradient_agrees_with_finite_differences(head, source):
    evidence = View(model_of(head), images()).evidence(source, K)
    for b in range(2):
        close(evidence.G[b], case(head, "4x4", source, b).G, 1e-8)


def test_the_toys_put_every_sign_to_the_test():
    """A clamp that did nothing, a branch equal to the head or maps of one sign would make the comparison empty."""
    for head in HEADS:
        view = View(model_of(head), images())
        assert not torch.allclose(view.logits("softmax"), view.logits("sigmoid"))
        for source in SOURCES:
            G = view.evidence(source, K).G
            assert G.min() < 0 < G.max()
    assert View(model_of("token"), images()).F.min() < 0
    assert (View(model_of("gap"), images()).F[:, 5] == 0).all()  # the dead channel


def test_the_weights_follow_their_definitions_in_single_precision_at_real_scales():
    """G of a 14x14 map with weights of 0.05 is 2.6e-4: its third power is below 2e-11."""
    rng = np.random.default_rng(0)
    F, G = rng.gamma(0.5, size=(2, N, 14, 14)), rng.normal(0, 2.6e-4, (2, N, 14, 14))
    for key in ref.ALPHAS:
        got = METHODS[key].weights(torch.tensor(F).float(), torch.tensor(G).float())
        for b in range(2):
            expected = ref.ALPHAS[key](F[b], G[b])
            close(got[b].double().squeeze(), expected.squeeze(), np.abs(expected).max() * 1e-4)


def test_xgradcam_gives_a_channel_that_sums_to_zero_no_weight():
    F = torch.tensor([[[[1.0, -1.0]], [[0.0, 0.0]], [[2.0, 2.0]]]])
    G = torch.tensor([[[[3.0, 1.0]], [[5.0, 5.0]], [[1.0, 3.0]]]])
    assert cam_methods.xgradcam(F, G).flatten().tolist() == [0, 0, (2 * 1 + 2 * 3) / 4]


def test_eigencam_does_not_depend_on_the_size_of_the_features():
    F = torch.tensor(np.random.default_rng(0).gamma(0.5, size=(3, N, 5, 4)))
    for factor in (1e-4, 1e4):
        torch.testing.assert_close(eigencam(factor * F), eigencam(F))


def test_the_registry_says_what_is_slow_and_what_knows_no_class():
    gradient = ("cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam")
    expected = dict.fromkeys(gradient, ("gradient", False, False, False)) | {
        "ablationcam": ("ablated", False, False, False),
        "eigencam": ("features", False, True, True),
        "scorecam": ("masked", True, False, False),
    }
    said = {key: (m.needs, m.slow, m.class_free, m.centred) for key, m in METHODS.items()}
    assert {key: said[key] for key in expected} == expected
    slow = {head: {m for m in expected if cam_methods.takes_seconds(model_of(head), m)} for head in ("gap", "token")}
    assert slow == {"gap": {"scorecam"}, "token": {"scorecam", "ablationcam"}}
    assert [cam_methods.default(model_of(head)) for head in ("gap", "token")] == ["cam", "gradcam"]


def test_sources_of_one_view_share_only_what_knows_no_class():
    view = View(model_of("gap"), images())
    for method in ("cam", "gradcam++", "eigencam"):
        for source in ("softmax", "sigmoid"):
            alone = View(model_of("gap"), images()).evidence(source, K)
            assert torch.equal(class_map(view.evidence(source, K), method), class_map(alone, method))
    assert set(view.weights) == {"eigencam"}


def test_explain_takes_the_prediction_or_classes_and_refuses_others():
    model, x = model_of("gap"), images()
    best = model(x)["softmax"].argmax(1)
    assert best.unique().numel() > 1 or int(best[0]) > 0
    assert torch.equal(explain(model, x), explain(model, x, best))
    assert torch.equal(explain(model, x, 1), explain(model, x, torch.tensor([1])))
    assert torch.equal(explain(model, x, C - 1), explain(model, x, torch.tensor([C - 1, C - 1])))
    assert torch.equal(explain(model, x, 0)[1:], explain(model, x, torch.tensor([1, 0]))[1:])
    for k in (C, -1, 1.0, torch.tensor([0, C]), torch.tensor([-1, 0]), torch.tensor([0, 1, 2]), torch.tensor([[0, 1]])):
        with pytest.raises(ValueError, match=rf"whole numbers from 0 to {C - 1}, one for all images or one each, got"):
            explain(model, x, k)


# --- the identities of design section 2 -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("maps", ["4x4", "5x3"])
def test_gap_linear_makes_four_methods_one_map(source, maps):
    model, x = model_of("gap", maps), images()
    PQ = np.prod([int(n) for n in maps.split("x")])
    S = {m: explain(model, x, K, m, source, clamp=False) for m in ("cam", "gradcam", "xgradcam", "hirescam")}
    for method in ("gradcam", "xgradcam", "hirescam"):
        close(S[method] * PQ, S["cam"])
    clamped = {m: explain(model, x, K, m, source, clamp=True) for m in ("gradcam", "layercam", "gradcam++")}
    close(clamped["layercam"], clamped["gradcam"])
    assert not proportional(clamped["gradcam++"], clamped["gradcam"])
    assert not proportional(S["gradcam"], clamped["layercam"])


@pytest.mark.parametrize("source", ["softmax", "sigmoid"])
def test_the_cam_adds_up_to_the_logit(source):
    model, x = model_of("gap"), images(3)
    bias = model.classifier(source).bias
    for k in range(C):
        S = explain(model, x, k, "cam", source, clamp=False)
        close(S.mean((1, 2)) + bias[k], model(x)[source][:, k])


def test_the_cam_of_gap_linear_is_the_weight_row_times_the_features():
    model, x = model_of("gap"), images()
    F = model.trunk(x)[0]
    close(explain(model, x, 2, "cam", "softmax"), torch.einsum("n,bnpq->bpq", model.softmax.weight[2], F))
    rectified = model.sigmoid.weight[2].clamp(min=0)
    close(explain(model, x, 2, "cam", "sigmoid"), torch.einsum("n,bnpq->bpq", rectified, F))  # the paper's default


def test_hires_cam_adds_up_to_the_change_of_any_line_through_zero():
    """sum G F is the logit minus bias for every head that is linear in F; for the others it is not."""
    model, x = model_of("norm"), images()
    S = explain(model, x, K, "hirescam", "softmax", clamp=False)
    assert not torch.allclose(S.sum((1, 2)) + model.softmax.bias[K], model(x)["softmax"].gather(1, K[:, None])[:, 0])


def proportional(A, B):
    """Whether every map of A is a positive multiple of its map in B (up to 1e-9 of its size)."""
    A, B = A.flatten(1), B.flatten(1)
    factor = (A * B).sum(1, keepdim=True) / (B * B).sum(1, keepdim=True)
    return bool((factor > 0).all() and torch.allclose(A, factor * B, rtol=0, atol=1e-9 * float(A.abs().max())))


@cache
def timm_model(name):
    torch.manual_seed(0)
    parts = build(name, None, C)
    model = DualBranch(parts, Spec(name, tuple("abcde"), parts.preprocessing, parts.layer))
    for part in (model.trunk, model.neck, model.softmax, model.add_branch()):
        shake(part)
    return model.double()


@pytest.mark.parametrize("clamp", [None, True, False])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("head", [*HEADS, "test_resnet", "test_convnext", "test_vit", "test_vit2", "test_mambaout"])
def test_identical_by_construction_names_exactly_the_methods_that_agree(head, source, clamp):
    real = head.startswith("test_")
    model = timm_model(head) if real else model_of(head)
    size = 160 if "vit" in head else 96
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) if real else None
    views = [View(model, x)] if real else [View(model, images(2, seed)) for seed in range(3)]
    known = [m for m in METHODS if METHODS[m].gives == "weights" and not (real and METHODS[m].slow)]
    methods = [m for m in known if unavailable(model, m) is None]
    maps = {m: torch.cat([class_map(v.evidence(source, K), m, clamp) for v in views]) for m in methods}
    alive = torch.stack([S.flatten(1).abs().amax(1) > 0 for S in maps.values()]).all(0)  # some weights are all negative
    assert alive.sum() >= 2
    maps = {m: S[alive] for m, S in maps.items()}
    named = {pair for g in identical_by_construction(model, source, clamp) for pair in combinations(sorted(g), 2)}
    found = {pair for pair in combinations(sorted(methods), 2) if proportional(maps[pair[0]], maps[pair[1]])}
    assert named == found


def test_what_is_identical_depends_on_head_and_clamp_as_the_page_says():
    said = lambda head, clamp: [set(group) for group in identical_by_construction(model_of(head), "softmax", clamp)]
    lift = {"ablationcam", "liftcam"}
    assert said("gap", False) == [{"cam", "gradcam", "xgradcam", "hirescam"}, lift]
    assert said("gap", True) == [{"cam", "gradcam", "xgradcam", "hirescam", "layercam"}, lift]
    assert lift not in identical_by_construction(model_of("gap"), "log-odds", False)
    assert said("norm", False) == said("pooled mlp", False) == [{"gradcam", "xgradcam", "hirescam"}]
    assert said("mlp", False) == said("token", False) == []
    assert said("mlp", True) == said("token", True) == [{"hirescam", "layercam"}]
    assert identical_by_construction(model_of("gap"), "sigmoid") != identical_by_construction(
        model_of("gap"), "softmax"
    )


# --- against pytorch-grad-cam, run on the whole network ---------------------------------------------------------------


class Whole(nn.Module):
    """Trunk, neck and one classifier as one ordinary network, `layer` giving F."""

    def __init__(self, model, branch):
        super().__init__()
        self.layer, self.neck, self.head = model.trunk.net, model.neck, model.classifier(branch)

    def forward(self, x):
        return self.head(self.neck(self.layer(x)))


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
@pytest.mark.parametrize("head", ["gap", "mlp", "norm"])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("gradcam", "GradCAM"),
        ("gradcam++", "GradCAMPlusPlus"),
        ("xgradcam", "XGradCAM"),
        ("layercam", "LayerCAM"),
        ("hirescam", "HiResCAM"),
        ("ablationcam", "AblationCAM"),
        ("eigencam", "EigenCAM"),
    ],
)
def test_map_agrees_with_pytorch_grad_cam(method, name, head, branch):
    """Theirs rectifies, min-maxes and enlarges; ours goes through the same steps of theirs afterwards."""
    peer = pytest.importorskip("pytorch_grad_cam")
    scale = pytest.importorskip("pytorch_grad_cam.utils.image").scale_cam_image
    target = pytest.importorskip("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    model, x = toy(head), images()
    with torch.no_grad():  # so that their 1e-6 in the denominator of Grad-CAM++ decides nothing
        for classifier in (model.softmax, model.sigmoid):
            for p in list(classifier.parameters())[-2:]:
                p *= 100
    S = explain(model, x, K, method, branch, clamp=False).numpy()
    if method == "ablationcam":  # theirs divides by the score, ours by its modulus; theirs is in single precision
        S = S * np.sign(model(x)[branch].gather(1, K[:, None])[:, :, None].numpy())
        model, x = model.float(), x.float()
    whole = Whole(model, branch).requires_grad_(True)
    with getattr(peer, name)(model=whole, target_layers=[whole.layer]) as theirs:
        expected = theirs(input_tensor=x, targets=[target(int(k)) for k in K])
    ours = [scale(scale(np.maximum(sign * S, 0), (24, 24))) for sign in ([1] if method != "eigencam" else [1, -1])]
    assert S.max() > 0
    for b in range(2):  # a singular vector has no sign in theirs
        error = min(np.abs(candidate[b] - expected[b]).max() for candidate in ours)
        assert error < (1e-3 if method == "ablationcam" else 2e-5)
