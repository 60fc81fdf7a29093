"""What softmax cannot see: every shift and measure against the slow reference, over random heads."""

import dataclasses

import gradio as gr
import numpy as np
import pytest
import reference as ref
import torch
from toys import C, N, images, toy

from bsoftmax import METHODS, View, open_model
from bsoftmax.cams import distortions, effects, methods
from bsoftmax.cams.effects import Distortion
from bsoftmax.cams.sweep import before_after, scaled_by, write_gif
from bsoftmax.images.read import read_rgb
from bsoftmax.models.heads import last_linear

KINDS = {
    "channel": Distortion(channels=(1,), delta=0.7),
    "several": Distortion(channels=(0, 2, 4), delta=-1.3),
    "uniform": Distortion(uniform=2.5),
    "flip": Distortion(flip=60),
    "centre": Distortion(centre=True),
    "all": Distortion((2,), 0.4, 30, -0.2, True),
}


@pytest.fixture(params=range(3))
def view(request):
    model = toy(seed=request.param)
    return View(model, images(1, seed=request.param))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["gap", "mlp", "token", "norm", "pooled mlp"])
def test_softmax_is_unchanged_and_the_branch_is_not(head, kind):
    model = toy(head)
    view = View(model, images(1))
    weight = last_linear(model.softmax).weight
    distortion = dataclasses.replace(
        KINDS[kind], channels=tuple(c for c in KINDS[kind].channels if c < weight.shape[1])
    )
    out = effects.distort(view, 1, "gradcam", dataclasses.replace(distortion, both=True))
    p = [logits["softmax"].softmax(0) for logits in (out.logits_before, out.logits_after)]
    assert float((p[0] - p[1]).abs().max()) < 1e-12
    assert out.numbers["max_dp"] < 1e-12
    assert out.numbers["top5_unchanged"]
    s = [logits["sigmoid"].sigmoid() for logits in (out.logits_before, out.logits_after)]
    if head in ("gap", "token", "norm"):  # both heads read one h; an MLP's branch has a hidden layer of its own
        common = float((out.logits_after["softmax"] - out.logits_before["softmax"]).abs().max())  # |d . h|
        assert common > 1e-6 or (head, kind) == ("norm", "uniform")  # LayerNorm's h sums to zero: Eq. 10 is nothing
        assert (float((s[0] - s[1]).abs().max()) > 1e-9) == (common > 1e-6)
        loss = out.numbers["branch_loss"]
        assert (abs(loss[0] - loss[1]) > 1e-9) == (common > 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cam_moves_by_exactly_the_shift_and_log_odds_do_not(view, kind):
    k, d = 2, KINDS[kind].vector(view.model.softmax, 2)
    out = effects.distort(view, k, "cam", KINDS[kind])
    F = view.F[0].double().numpy()
    moved = (out.after["softmax", False] - out.before["softmax", False]).numpy()
    np.testing.assert_allclose(moved, ref.evidence(d.double().numpy(), F), atol=1e-12)
    for clamp in (False, True):
        for source in ("log-odds", "centred"):
            torch.testing.assert_close(out.after[source, clamp], out.before[source, clamp], atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(out.after["sigmoid", clamp], out.before["sigmoid", clamp], atol=0, rtol=0)


@pytest.mark.parametrize("percent", [0, 7, 33, 50, 100])
def test_flipped_channels_are_exactly_negated(view, percent):
    k, last = 1, last_linear(view.model.softmax)
    d = distortions.sign_flip(last.weight[k], percent)
    np.testing.assert_allclose(d.numpy(), ref.flip(last.weight.numpy(), k, percent), atol=0)
    after = last_linear(distortions.shifted(view.model.softmax, d)).weight[k]
    flipped = d != 0
    assert torch.equal(after[flipped], -last.weight[k][flipped])
    assert torch.equal(after[~flipped], last.weight[k][~flipped])


def test_flip_counts_round_up_after_the_product():
    w = torch.linspace(1, 2, 100)
    assert int((distortions.sign_flip(w, 7) != 0).sum()) == 7  # 7 / 100 * 100 is 7.000000000000001
    assert int((distortions.sign_flip(w, 0.1) != 0).sum()) == 1
    assert int((distortions.sign_flip(-w, 50) != 0).sum()) == 0
    ties = torch.tensor([1.0, 1.0, 1.0, -1.0])
    assert (distortions.sign_flip(ties, 34) != 0).tolist() == [True, True, False, False]
    assert int((distortions.sign_flip(torch.ones(200), 100) != 0).sum()) == 200
    assert distortions.sign_flip(torch.tensor([1.0, 2.0, 0.0, 0.0]), 50).tolist() == [0, -4, 0, 0]  # 0 is not positive


def test_vectors_are_those_of_the_reference(view):
    weight = last_linear(view.model.softmax).weight.double().numpy()
    np.testing.assert_allclose(distortions.uniform_shift(N, 1.5).numpy(), ref.uniform(N, 1.5))
    np.testing.assert_allclose(distortions.channel_shift(N, [3], 0.5).numpy(), 0.5 * np.eye(N)[3])
    d = KINDS["centre"].vector(view.model.softmax, 0)
    np.testing.assert_allclose(d.double().numpy(), ref.centring(weight), atol=1e-12)
    np.testing.assert_allclose(weight.mean(0) + d.double().numpy(), 0, atol=1e-12)


def test_one_class_only_does_change_probabilities(view):
    out = effects.distort(view, 2, "cam", Distortion((1,), 2.0, only=True))
    h = view.h[0, 1]
    torch.testing.assert_close(out.logits_after["softmax"][2] - out.logits_before["softmax"][2], 2 * h)
    assert torch.equal(out.logits_after["softmax"][:2], out.logits_before["softmax"][:2])
    assert out.numbers["max_dp"] > 1e-4 or h == 0


def test_shifting_leaves_the_model_as_it_was(view):
    before = view.model.frozen_hash()
    for method in METHODS:
        if not METHODS[method].slow:
            effects.distort(view, 0, method, dataclasses.replace(KINDS["all"], both=True))
    assert view.model.frozen_hash() == before


@pytest.mark.parametrize("head", ["gap", "mlp"])
def test_shifted_heads_share_all_but_the_last_layer(head):
    model = toy(head)
    d = torch.ones(last_linear(model.softmax).in_features)
    other = distortions.shifted(model.softmax, d)
    own = {p.data_ptr() for p in model.softmax.parameters()}
    assert sum(p.data_ptr() not in own for p in other.parameters()) == 1
    torch.testing.assert_close(last_linear(other).weight, last_linear(model.softmax).weight + 1)
    with pytest.raises(ValueError, match="Expected a shift of"):
        distortions.shifted(model.softmax, d[1:])


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_the_reference(seed):
    rng = np.random.default_rng(seed)
    a, b = (np.round(rng.normal(size=(5, 4)), 1) for _ in range(2))  # rounded: ties
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    assert distortions.spearman(ta, tb) == pytest.approx(ref.spearman(a, b), abs=1e-12)
    np.testing.assert_allclose(distortions.ranks(ta.flatten()) - distortions.ranks(ta.flatten()).mean(),
                               np.array(ref.ranks(a.ravel())) - np.mean(ref.ranks(a.ravel())))  # fmt: skip
    assert distortions.sign_changes(ta, tb) == pytest.approx(ref.sign_changes(a, b))
    boxes = [tuple(np.sort(rng.integers(0, 20, (2, 2)), axis=0).ravel().tolist()) for _ in range(2)]
    assert distortions.box_iou(*boxes) == pytest.approx(ref.iou(*boxes))


def test_boxes_beside_each_other_share_nothing():
    for a, b in (((0, 0, 1, 1), (2, 0, 3, 1)), ((0, 0, 1, 1), (0, 5, 1, 6)), ((0, 0, 1, 1), (5, 5, 9, 9))):
        assert distortions.box_iou(a, b) == distortions.box_iou(b, a) == 0


def test_zero_has_no_sign_to_change_and_tiny_numbers_have():
    a, b = torch.tensor([-1.0, 1.0, -1e-30, 2.0]), torch.tensor([0.0, 0.0, 1e-30, 3.0])
    assert distortions.sign_changes(a, b) == distortions.sign_changes(b, a) == 0.25


def test_measures_at_the_edges():
    assert distortions.ranks(torch.tensor([3.0, 1.0, 1.0, 2.0])).tolist() == [3, 0.5, 0.5, 2]
    assert np.isnan(distortions.spearman(torch.zeros(2, 2), torch.rand(2, 2)))
    assert distortions.box_iou(None, None) == 1
    assert distortions.box_iou(None, (0, 0, 1, 1)) == 0
    assert distortions.box_iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0


@pytest.mark.parametrize(
    "bad", [Distortion(channels=(N,)), Distortion(channels=(-1,)), Distortion(flip=101), Distortion(flip=-1)]
)
def test_bad_distortions_are_refused(view, bad):
    with pytest.raises(ValueError, match=r"numbered 0 to|from 0 to 100"):
        effects.distort(view, 0, "cam", bad)


@pytest.mark.parametrize("biased", [True, False])
def test_a_shift_moves_every_row_and_every_bias(biased):
    head, d = torch.nn.Linear(N, C, bias=biased), torch.arange(1.0, N + 1)
    plain, both = distortions.Shift("d", d), distortions.Shift("d", d, bias=2.0)
    assert (plain.bias, plain.radius) == (0, 0)
    h = torch.rand(4, N)
    with torch.no_grad():
        torch.testing.assert_close(plain.apply(head)(h), head(h) + (h @ d)[:, None])
        torch.testing.assert_close(both.apply(head)(h), head(h) + (h @ d)[:, None] + 2)
    assert not any(p.requires_grad for p in both.apply(head).parameters())


@pytest.mark.parametrize("odd", [N, N + 3, -1])
def test_the_channel_that_is_none_is_named(odd):
    with pytest.raises(ValueError, match=rf"numbered 0 to {N - 1}, got {odd}:"):
        distortions.channel_shift(N, [0, 2, N - 1, odd], 1.0)


def test_redrawn_is_distort_for_what_can_move(view):
    for distortion in (KINDS["all"], dataclasses.replace(KINDS["all"], both=True), Distortion((1,), 1.0, only=True)):
        out = effects.distort(view, 1, "gradcam++", distortion)
        maps, logits = effects.distorted_maps(view, 1, "gradcam++", distortion)
        for key, S in maps.items():
            assert torch.equal(S, out.after[key])
        for key in out.after.keys() - maps.keys():
            torch.testing.assert_close(out.after[key], out.before[key], atol=1e-9, rtol=1e-9)
        assert all(torch.equal(v, out.logits_after[b]) for b, v in logits.items())


# ---- where a head stands -----------------------------------------------------------------------------------------


def test_two_heads_that_differ_by_a_shift_are_alike_once_it_is_taken_out():
    model = toy()
    with torch.no_grad():
        model.softmax.weight.copy_(torch.eye(C, N))
        model.sigmoid.weight.copy_(3 * torch.eye(C, N) - 5)  # the same rows, larger, and one vector on all of them
    found = effects.row_cosines(model)
    a, b = torch.eye(C, N).double(), 3 * torch.eye(C, N).double() - 5
    by_hand = [float(x @ y / (x.norm() * y.norm())) for x, y in zip(a, b)]
    assert found["rows"] == pytest.approx(sum(by_hand) / C)
    assert found["rows"] < 0
    assert found["centred"] == pytest.approx(1)
    assert effects.row_cosines(toy(branch=False)) is None
    assert effects.row_cosines(toy("mlp")) is None


def test_gauge_of_hand_made_heads():
    head = torch.nn.Linear(2, 2)
    head.weight.data = torch.tensor([[1.0, 3.0], [-1.0, 3.0]])
    seen = effects.gauge(head)
    assert seen["per_channel"] == pytest.approx([0, 1])
    assert seen["mean_norm"] == pytest.approx(3)
    assert seen["row_norm"] == pytest.approx(10**0.5)
    centred = distortions.shifted(head, distortions.centring(head.weight.detach()))
    assert effects.gauge(centred)["share"] == pytest.approx(0, abs=1e-7)


def test_tolerance_is_where_the_box_is_lost():
    model = open_model()
    view = View(model, model.preprocess(read_rgb(gr.get_image("lion.jpg"))))
    k = int(view.logits("softmax").argmax())
    found = effects.tolerance(view, k)
    start = effects.box_of_map(methods.class_map(view.evidence("softmax", k), "cam")[0])
    everywhere = tuple(range(model.softmax.in_features))
    assert found["down"] is not None  # enough of Eq. 10 turns any map negative
    for side in ("down", "up"):
        if (lost := found[side]) is not None:
            for share, kept in ((0.98, True), (1.0, False)):
                made = effects.classifiers(model, Distortion(everywhere, share * lost), k)["softmax"]
                S = methods.class_map(view.evidence("softmax", k, made), "cam")[0]
                assert (distortions.box_iou(start, effects.box_of_map(S)) > 0.5) is kept


# ---- to take home ------------------------------------------------------------------------------------------------


def test_figure_and_gif_of_a_sweep(view, tmp_path):
    from PIL import Image

    picture = Image.new("RGB", (60, 40), "teal")
    out = effects.distort(view, 1, "cam", KINDS["channel"])
    fig = before_after(picture, "a_$b$", "CAM", out, KINDS["channel"])
    text = " ".join(t.get_text() for t in fig.texts)
    assert "channel 1 (Eq. 9)" in " ".join(text.split())
    path = write_gif(tmp_path / "s.gif", picture, view, 1, "cam", KINDS["channel"])
    with Image.open(path) as gif:
        assert gif.n_frames > 10
    with pytest.raises(ValueError, match="gif"):
        write_gif(tmp_path / "s.mp4", picture, view, 1, "cam", KINDS["channel"])


def test_a_sweep_starts_at_nothing_and_reaches_everything():
    whole = KINDS["all"]
    assert scaled_by(whole, 1) == whole
    assert scaled_by(whole, 0).equation() == "no distortion"
