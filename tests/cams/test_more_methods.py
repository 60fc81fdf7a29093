"""LIFT-CAM, Opti-CAM, RISE, attention rollout and TS-CAM against slow loops, captum and timm's own attention."""

import copy

import numpy as np
import pytest
import reference as ref
import reference_methods as more
import torch
import torch.nn.functional as nnf
from looks_made import K, close, model_of, transformer, wide
from torch import nn
from toys import C, N, counted, images, refusal, toy

from bsoftmax.cams import METHODS, View, class_map, explain, pixels, rise, unavailable, weigh
from bsoftmax.cams.effects import Distortion, distort, tolerance
from bsoftmax.cams.methods import offered, quick_to_follow
from bsoftmax.cams.sources import SOURCES

CLASSES = tuple("abcde")


def test_the_extra_packages_are_here():
    assert pixels.missing() is None


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].gives == "map"])
def test_a_method_without_weights_says_so_and_no_clamp_changes_its_map(method):
    if unavailable(model_of("gap"), method):
        assert "vision transformer" in unavailable(model_of("gap"), method)
        return
    evidence = View(model_of("gap"), images()).evidence("sigmoid", K)
    assert "no channel weights" in refusal(lambda: weigh(evidence, method))
    assert torch.equal(class_map(evidence, method, True), class_map(evidence, method, False))
    assert not METHODS[method].clamps
    assert METHODS[method].shows


# --- LIFT-CAM -------------------------------------------------------------------------------------------------------


def layers_of(classifier):
    linears = [m for m in classifier.modules() if isinstance(m, nn.Linear)]
    return [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in linears]


@pytest.mark.parametrize("source", ["softmax", "sigmoid", "centred"])
@pytest.mark.parametrize("head", ["gap", "pooled mlp"])
def test_lift_cam_agrees_with_the_loops(head, source):
    model = model_of(head)
    alpha = weigh(View(model, images()).evidence(source, K), "liftcam", clamp=False)
    for b in range(2):
        m = np.eye(C)[K[b]] - (1 / C if source == "centred" else 0)
        F = model.trunk(images())[0][b].numpy()
        close(alpha[b, :, 0, 0], more.liftcam(F, layers_of(model.classifier(SOURCES[source].branch)), m))


@pytest.mark.parametrize("head", ["gap", "mlp", "pooled mlp"])
def test_lift_cam_agrees_with_captum(head):
    from captum.attr import DeepLift

    model = model_of(head)
    behind = nn.Sequential(model.neck, *(model.softmax if head != "gap" else [model.softmax]))
    F = model.trunk(images())[0].requires_grad_()
    expected = DeepLift(copy.deepcopy(behind)).attribute(F, torch.zeros_like(F), target=K).sum((2, 3))
    close(weigh(View(model, images()).evidence("softmax", K), "liftcam")[:, :, 0, 0], expected, 1e-7)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("head", ["gap", "mlp"])
def test_what_lift_cam_gives_the_channels_adds_up_to_the_score(head, source):
    model, view = model_of(head), View(model_of(head), images())
    z0 = model.classifier(SOURCES[source].branch)(torch.zeros_like(view.h))
    alpha = weigh(view.evidence(source, K), "liftcam", clamp=False).sum((1, 2, 3))
    close(alpha, view.evidence(source, K).score - SOURCES[source].score(z0, K))


def test_lift_cam_is_refused_where_it_has_no_rule():
    for head in ("token", "norm"):
        assert "pooling, linear layers and ReLU" in refusal(
            lambda head=head: explain(model_of(head), images(), 0, "liftcam")
        )


# --- Opti-CAM -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["sigmoid", "log-odds"])
def test_opti_cam_agrees_with_the_loops(source):
    model, x = (
        model_of("token"),
        images()[:1],
    )  # of a dead channel Adam would follow noise
    branch = model.classifier(SOURCES[source].branch)

    def score(picture):
        z = branch(model.neck(*model.trunk(torch.as_tensor(picture)[None])))[0].tolist()
        return ref.SCORES[source](z, 1)

    alpha = weigh(View(model, x).evidence(source, 1), "opticam", clamp=False)[0, :, 0, 0]
    close(alpha, more.opticam(model.trunk(x)[0][0].numpy(), x[0].numpy(), score, 3), 1e-7)


def test_opti_cam_finds_a_higher_score_than_equal_weights(monkeypatch):
    monkeypatch.setattr("bsoftmax.cams.channels.STEPS", 30)
    model, x = model_of("mlp"), images()
    view = View(model, x)
    S = torch.stack([class_map(view.evidence("softmax", K), "opticam"), view.F.mean(1)])
    fine = nnf.interpolate(S, x.shape[2:], mode="bilinear")
    low, high = fine.amin((2, 3), keepdim=True), fine.amax((2, 3), keepdim=True)
    best, start = (model(x * mask[:, None])["softmax"].gather(1, K[:, None]) for mask in (fine - low) / (high - low))
    assert (best > start).all()


# --- RISE -----------------------------------------------------------------------------------------------------------


def test_the_masks_of_rise_are_shifted_grids():
    masks = rise.RandomMasks(40, cells=3)
    M = masks.part(0, 0, (10, 14))
    assert M.shape == (32, 1, 10, 14)
    assert torch.equal(masks.part(0, 32, (10, 14)), masks.part(5, 32, (10, 14)))  # the rest, whatever the image
    assert len(masks.part(0, 32, (10, 14))) == 8
    cells, (height, width) = 3, (4, 5)  # of a cell: 10 / 3 and 14 / 3, rounded up
    for n in range(3):
        generator = torch.Generator().manual_seed(n)
        grid = (torch.rand(cells, cells, generator=generator) < 0.5).double().numpy()
        y, x = (int(torch.randint(0, side, (), generator=generator)) for side in (height, width))
        fine = ref.bilinear(grid, ((cells + 1) * height, (cells + 1) * width))
        close(M[n, 0].double(), fine[y : y + 10, x : x + 14], 1e-6)
    assert abs(rise.RandomMasks(640).part(0, 0, (28, 28)).mean() - 0.5) < 0.05


def test_other_seeds_give_other_masks_and_the_cells_are_those_of_the_paper():
    masks = rise.RandomMasks(3, seed=5)
    assert masks.cells == 7
    for n in range(3):
        grid = torch.rand(7, 7, generator=torch.Generator().manual_seed(5 * 1048576 + n)) < 0.5
        fine = ref.bilinear(grid.double().numpy(), (16, 16))  # of 8 cells of 2 pixels, some 12 from either end
        assert any(np.allclose(masks.mask(n, (12, 12))[0], fine[y : y + 12, x : x + 12], atol=1e-6)
                   for y in (0, 1) for x in (0, 1))  # fmt: skip


def test_rise_of_wide_images_is_the_weighted_mean_of_its_masks():
    model, x = model_of("gap"), torch.randn(3, 3, 24, 36, generator=torch.Generator().manual_seed(3)).double()
    M = rise.RandomMasks(rise.MASKS).part(0, 0, (24, 36))[:, 0].double()
    S = explain(model, x, 2, "rise", "softmax")
    assert S.shape == (3, 24, 36)
    for b in range(3):
        p = model(x[b] * M[:, None])["softmax"].softmax(1)[:, 2]
        close(S[b], sum(p_i * M_i for p_i, M_i in zip(p, M)) / M.sum(0), 1e-6)


def test_rise_of_another_head_is_not_that_which_is_kept_of_the_models_own():
    model, other, third = (toy("gap", seed=seed) for seed in (0, 4, 5))
    view, theirs = View(model, images()), View(model, images())
    own = class_map(view.evidence("softmax", K), "rise")
    given = class_map(view.evidence("softmax", K, other.softmax), "rise")
    assert not torch.allclose(own, given)
    close(given, class_map(theirs.evidence("softmax", K, other.softmax), "rise"))
    assert not torch.allclose(class_map(view.evidence("softmax", K, third.softmax), "rise"), given)
    assert torch.equal(class_map(view.evidence("softmax", K), "rise"), own)
    assert not torch.allclose(class_map(theirs.evidence("softmax", K), "rise"), given)


@pytest.mark.parametrize("source", SOURCES)
def test_rise_agrees_with_the_loops(source):
    model, x = model_of("mlp"), images()
    M = rise.RandomMasks(rise.MASKS).part(0, 0, (24, 24))[:, 0].double()
    S = explain(model, x, K, "rise", source)
    for b in range(2):
        z = model(x[b] * M[:, None])["sigmoid" if source == "sigmoid" else "softmax"]
        f = [ref.sigmoid(float(row[K[b]])) if source == "sigmoid" else ref.softmax(row.tolist())[K[b]] for row in z]
        seen = M.sum(0) / (len(M) * 0.5)  # the paper has its expectation, 1
        close(S[b] * seen, more.rise(M.numpy(), f, 0.5), 1e-6)


def test_all_heads_and_classes_share_the_passes_of_rise_which_go_on_after_a_stop(monkeypatch):
    monkeypatch.setattr("bsoftmax.cams.view.CHUNK", 4)
    model, x, seen = model_of("mlp"), images(), []
    whole = explain(model, x, K, "rise")

    def stopped(done, total):
        seen.append((done, total))
        if done == 4:
            raise InterruptedError

    with counted(model) as calls:
        view = View(model, x)
        with pytest.raises(InterruptedError):
            class_map(view.evidence("sigmoid", K), "rise", tick=stopped)
        maps = [class_map(view.evidence(s, k), "rise", tick=stopped) for s in SOURCES for k in (K, 0)]
    close(maps[2], whole)
    assert torch.equal(maps[0], maps[4])  # log-odds have the softmax head's probabilities
    assert not torch.allclose(maps[0], maps[1])
    assert calls == [2, 4, 3, 4, 3]
    assert seen == [(4, 14), (7, 14), (11, 14), (14, 14)]
    assert view.has("rise")


@pytest.mark.parametrize("key", [key for key, method in METHODS.items() if method.passes])
def test_passes_are_those_that_one_map_takes_and_count_three_with_their_gradient(key, monkeypatch):
    monkeypatch.undo()  # as many steps as on the page
    if METHODS[key].unsuited(model_of("gap")) is None:
        model, x = model_of("gap"), images(1)
        counted_part = type(model.trunk)  # the copies of some methods count too
    else:
        (net, model), x = transformer(1), wide(1)
        counted_part = type(net.patch_embed)
    forward, passes = counted_part.forward, []

    def counting(part, x):
        out = forward(part, x)
        passes.append(len(x) * (3 if x.requires_grad else 1))
        return out

    view = View(model, x)
    monkeypatch.setattr(counted_part, "forward", counting)
    class_map(view.evidence("sigmoid", 1), key)
    assert sum(passes) == METHODS[key].passes
    assert METHODS[key].slow


def test_results_of_methods_that_share_nothing_are_kept_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("bsoftmax.cams.view.MOST_KEPT", 2)
    model = toy("gap")
    view, before = View(model, images()), View(model, images()).nbytes
    with counted(model) as calls:
        for k in (0, 1, 1, 0, 2, 1, 0):
            class_map(view.evidence("softmax", k), "saliency")
    assert calls == [1, 1] * 4  # the classes 0, 1, 2, and 0 again
    assert view.nbytes == before + 2 * 2 * 24 * 24 * 8
    assert view.F.shape[1] == N


@pytest.mark.parametrize("key", [key for key, method in METHODS.items() if not method.follows])
def test_what_follows_no_shift_is_refused_before_the_trunk_runs_again(key):
    model = toy()
    with counted(model) as calls:
        view = View(model, images(1))
        asked = (lambda: distort(view, 1, key, Distortion(uniform=0.1)), lambda: tolerance(view, 1, key))
        assert all("does not follow a shift" in refusal(each) for each in asked)
    assert sum(calls) == 1
    assert quick_to_follow(model, key) == "cam"


def test_weights_said_to_be_never_negative_are_not_and_others_may_be():
    view = View(toy(), images(2))
    kept = {key: weigh(view.evidence("softmax", K), key, False) for key in ("layercam", "scorecam", "opticam", "cam")}
    assert [key for key, alpha in kept.items() if (alpha >= 0).all()] == ["layercam", "scorecam", "opticam"]
    assert {key for key, method in METHODS.items() if method.nonnegative} == {"layercam", "scorecam", "opticam"}


def test_the_page_shows_the_cams_and_only_rise_explains_a_probability():
    cams = {"cam", "gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "ablationcam", "eigencam", "scorecam"}
    assert {key for key, method in METHODS.items() if not method.more} == cams
    assert [key for key, method in METHODS.items() if method.confidence] == ["rise"]


def test_what_is_offered_suits_the_model_and_what_is_slow_is_not_followed():
    assert set(METHODS) - set(offered(toy())) == {"rollout", "tscam"}
    assert not {"cam", "liftcam"} & set(offered(toy("token")))
    assert METHODS["scorecam"].follows
    assert quick_to_follow(toy(), "scorecam") == "cam"
    assert quick_to_follow(toy("token"), "scorecam") == "gradcam"
    assert quick_to_follow(toy("token"), "layercam") == "layercam"
