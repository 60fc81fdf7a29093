"""Fidelity by hand, against loops over pixels, and against torch-cam's metrics where both define the same thing."""

import contextlib
import sys
from functools import partial

import numpy as np
import pytest
import reference_metrics as ref
import reference_render
import torch
from torch import nn
from toys import SIDE, C, counted, refusal, toy

from bsoftmax import METHODS, SOURCES, View, class_map
from bsoftmax.cams.methods import identical_by_construction as identical
from bsoftmax.evaluation import fidelity

STEPS = 8  # 576 pixels: 72 a step


def pictures(batch=1, seed=0):
    return torch.rand(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(count, seed=0):
    return torch.randn(count, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_mask_is_rectified_stretched_enlarged_and_clipped():
    S = maps(3)
    for ours, one in zip(fidelity.masks(S, (11, 9)), S.numpy()):
        M = np.maximum(one, 0)
        fine = reference_render.bicubic((M - M.min()) / (M.max() - M.min()), (11, 9))
        np.testing.assert_allclose(ours, np.clip(fine, 0, 1), atol=2e-6)
    assert not fidelity.masks(-S.abs(), (11, 9)).any()
    assert "NaN" in refusal(lambda: fidelity.masks(S * torch.nan, (11, 9)))


def test_maps_of_one_mask_are_found():
    S = maps(3)
    together = torch.stack([S[0], S[1], 3 * S[0], S[2], S[1] * (1 + 1e-8), -S[1].abs(), torch.zeros(4, 4)])
    first, kinds = fidelity.distinct(together)
    assert first.tolist() == [0, 1, 3, 5]
    assert kinds.tolist() == [0, 1, 0, 2, 1, 3, 3]
    first, kinds = fidelity.distinct(together, rectify=False)  # the order of a map with no positive part is its own
    assert first.tolist() == [0, 1, 3, 5, 6]


@pytest.mark.parametrize("clamp", [False, True])
def test_methods_that_are_identical_share_a_pass(clamp):
    model = toy()
    view = View(model, fidelity.normalise(model, pictures()))
    evidence = view.evidence("sigmoid", 1)
    keys = sorted(key for key, method in METHODS.items() if not (method.more or method.slow))
    _, kinds = fidelity.distinct(torch.cat([class_map(evidence, key, clamp) for key in keys]))
    groups = [group.intersection(keys) for group in identical(model, "sigmoid", clamp)]
    assert {"cam", "gradcam"} <= groups[0]
    assert all(len({int(kinds[keys.index(key)]) for key in group}) == 1 for group in groups)


def by_hand(model, picture, mask=None):
    """The logits of one picture, each step spelled out; means and deviations of a toy are 0.5."""
    x = picture if mask is None else picture * mask
    return {name: rows[0] for name, rows in model((x[None] - 0.5) / 0.5).items()}


@pytest.mark.parametrize("head", ["gap", "mlp", "token"])
def test_masked_logits_are_those_of_the_masked_picture(head):
    model, picture = toy(head), pictures()[0]
    M = torch.rand(5, SIDE, SIDE, dtype=torch.float64)
    with counted(model) as calls:
        ours = fidelity.masked_logits(model, picture, M, batch=2)
    assert calls == [2, 2, 1]
    for m in range(5):
        for name, expected in by_hand(model, picture, M[m]).items():
            torch.testing.assert_close(ours[name][m], expected)


def test_a_model_without_a_branch_answers_with_one_head():
    model = toy(branch=False)
    assert fidelity.masked_logits(model, pictures()[0], torch.ones(1, SIDE, SIDE)).keys() == {"softmax"}


def test_masks_of_several_pictures_share_batches():
    model, pair = toy(), pictures(2)
    M, owner = torch.rand(4, SIDE, SIDE, dtype=torch.float64), torch.tensor([1, 0, 1, 1])
    with counted(model) as calls:
        seen = list(fidelity.masked_views(model, pair, M, owner, batch=3))
    assert calls == [3, 1]
    for part, view in seen:
        for row, m in zip(view.logits("sigmoid"), range(4)[part]):
            torch.testing.assert_close(row, by_hand(model, pair[owner[m]], M[m])["sigmoid"])


def test_confidence_of_either_head():
    logits, k = torch.randn(6, C), torch.tensor([0, 1, 2, 3, 4, 0])
    softmax, sigmoid = (fidelity.confidence(logits, k, name) for name in ("softmax", "sigmoid"))
    for row, one, p, s in zip(logits.tolist(), k.tolist(), softmax.tolist(), sigmoid.tolist()):
        assert p == pytest.approx(ref.softmax(row, one), abs=1e-12)
        assert s == pytest.approx(1 / (1 + np.exp(-row[one])), abs=1e-12)
    log_odds = SOURCES["log-odds"].score(logits.double(), k)
    torch.testing.assert_close(log_odds.sigmoid(), softmax)  # so its own confidence is p


def test_who_is_asked():
    assert [fidelity.scoring_head(source, "softmax") for source in SOURCES] == ["softmax"] * len(SOURCES)
    assert {source: fidelity.scoring_head(source, "own") for source in SOURCES} == {
        "softmax": "softmax", "sigmoid": "sigmoid", "log-odds": "softmax", "centred": "softmax",
    }  # fmt: skip
    assert "own" in refusal(lambda: fidelity.scoring_head("softmax", "theirs"))


@pytest.mark.parametrize(
    ("p", "q", "drop", "more", "gain"),
    [(0.8, 0.2, 75, 0, 0), (0.2, 0.8, 0, 100, 75), (0.5, 0.5, 0, 0, 0),
     (1, 1, 0, 0, 0), (0, 0, 0, 0, 0), (1, 0, 100, 0, 0)],
)  # fmt: skip
def test_drop_increase_and_gain_by_hand(p, q, drop, more, gain):
    assert fidelity.average_drop(p, q) == pytest.approx(drop)
    assert fidelity.increase(p, q) == more
    assert fidelity.average_gain(p, q) == pytest.approx(gain)


def test_complexity_and_coherency_by_hand():
    mask = torch.tensor([[1.0, 0], [0, 0]])
    assert fidelity.complexity(mask) == 25
    assert fidelity.coherency(mask, mask) == pytest.approx(100)
    assert fidelity.coherency(mask, 1 - mask) == pytest.approx(0)
    assert fidelity.coherency(mask, torch.zeros(2, 2)) == 0
    a, b = torch.rand(2, 5, 6)
    assert fidelity.coherency(a, b) == pytest.approx(50 * (ref.pearson(a, b) + 1), abs=1e-9)


def test_coherency_of_constant_masks_is_0_whatever_rounding_says():
    other = torch.rand(7, 9, generator=torch.Generator().manual_seed(0))
    for n in range(1, 30):
        flat = torch.full((7, 9), n / 31, dtype=torch.float64)  # whose mean is not always the number itself
        assert fidelity.coherency(flat, other) == fidelity.coherency(other, flat) == 0
    assert fidelity.coherency(1e-200 * other.double(), other) == 0  # a variance too small for a number


def test_coherency_stays_on_its_scale():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        mask, factor = torch.rand(3, 3, generator=generator, dtype=torch.float64), torch.rand(1, generator=generator)
        assert 99.9 < fidelity.coherency(mask, factor * mask) <= 100
        assert 0 <= fidelity.coherency(mask, -factor * mask) < 0.1


def test_a_step_is_eight_rows():
    assert 8 * 224 * fidelity.STEPS == 224 * 224
    assert fidelity.RULES["steps"] == str(fidelity.STEPS)


def test_adcc_is_the_harmonic_mean():
    assert fidelity.adcc(80, 20, 20) == pytest.approx(80)
    assert fidelity.adcc(90, 40, 70) == pytest.approx(3 / (1 / 90 + 1 / 60 + 1 / 30))
    assert fidelity.adcc(0.5, 20, 20) == pytest.approx(3 / (1 / 0.5 + 1 / 80 + 1 / 80))
    for parts in ((0, 20, 20), (80, 100, 20), (80, 20, 100)):
        assert fidelity.adcc(*parts) == 0


def test_pixels_are_ordered_from_the_highest_down():
    S = torch.tensor([[0.0, 5.0], [-1.0, 5.0]])
    assert fidelity.order(S, (2, 2)).tolist() == [1, 3, 0, 2]
    flat = fidelity.order(torch.zeros(4, 4), (3, 3))
    assert flat.tolist() == list(range(9))


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_stages_replace_the_first_pixels(steps):
    top, bottom = pictures(2)
    S = maps(1)[0]
    fine = torch.nn.functional.interpolate(S[None, None].float(), (SIDE, SIDE), mode="bicubic")[0, 0].tolist()
    seen = fidelity.stages(top, bottom, fidelity.order(S, (SIDE, SIDE)), steps)
    for i, picture in enumerate(seen):
        expected = ref.stage(top.numpy(), bottom.numpy(), fine, round(i * SIDE * SIDE / steps))
        np.testing.assert_array_equal(picture, expected)
    assert torch.equal(seen[0], bottom)
    assert torch.equal(seen[-1], top)
    assert "step" in refusal(lambda: fidelity.stages(top, bottom, torch.arange(SIDE * SIDE), 0))


def test_deletion_and_insertion_go_between_the_picture_and_nothing():
    model, picture = toy(), pictures()[0]
    ranking = fidelity.order(maps(1)[0], (SIDE, SIDE))
    k, base = 2, by_hand(model, picture)
    paths = {kind: fidelity.path(model, picture, k, ranking, kind, STEPS) for kind in ("deletion", "insertion")}
    for head in ("softmax", "sigmoid"):
        p = float(fidelity.confidence(base[head][None], torch.tensor([k]), head))
        assert float(paths["deletion"][head][0]) == pytest.approx(p)
        assert float(paths["insertion"][head][-1]) == pytest.approx(p)
        grey = by_hand(model, torch.full_like(picture, 0.5))[head]  # 0 after normalisation
        assert float(paths["deletion"][head][-1]) == pytest.approx(
            float(fidelity.confidence(grey[None], torch.tensor([k]), head))
        )
        for kind in paths:
            assert len(paths[kind][head]) == STEPS + 1
            assert 0 <= fidelity.auc(paths[kind][head]) <= 100
    assert "erasure" in refusal(lambda: fidelity.path(model, picture, k, ranking, "erasure"))


def test_insertion_starts_from_a_blurred_picture():
    picture = pictures()[0]
    soft = fidelity.blurred(picture)
    assert soft.shape == picture.shape
    assert float(soft.std()) < 0.2 * float(picture.std())
    flat = torch.full_like(picture, 0.3)
    torch.testing.assert_close(fidelity.blurred(flat), flat)
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 5.0) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    expected = (picture[0, 5:16, 6:17].numpy() * weights).sum()
    assert float(soft[0, 10, 11]) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_a_picture_smaller_than_the_kernel_is_blurred_by_a_smaller_one(shape):
    """Five pixels, of which two are reflected: no more can be for a side of three."""
    picture = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line = np.exp(-0.5 * (np.arange(-2, 3) / 5.0) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(picture[1].numpy(), 2, mode="reflect")
    expected = [[(padded[y : y + 5, x : x + 5] * kernel).sum() for x in range(shape[1])] for y in range(shape[0])]
    np.testing.assert_allclose(fidelity.blurred(picture)[1], expected)


def test_the_area_under_a_curve():
    assert fidelity.auc(torch.tensor([1.0, 1, 1])) == 100
    assert fidelity.auc(torch.tensor([1.0, 0])) == 50
    curve = torch.rand(9)
    assert fidelity.auc(curve) == pytest.approx(ref.trapezoids(curve.tolist()))


class Given:
    """What torch-cam's metrics ask of an extractor, answering with maps that are given."""

    def __init__(self, model, cams):
        self.model, self.cams = model, cams

    def __call__(self, class_idx=None, scores=None, **_):
        return [self.cams]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


class OnPictures(nn.Module):
    """The softmax head asked about pictures in [0, 1]: torch-cam masks what the model is given."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, pixels):
        return self.inner(fidelity.normalise(self.inner, pixels))["softmax"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="torch-cam with these metrics needs Python 3.11")
def test_average_drop_and_increase_agree_with_torch_cam():
    from torchcam.metrics import ClassificationMetric

    model, x = toy(), pictures(6)
    masks = fidelity.masks(maps(6), (SIDE, SIDE))
    theirs = ClassificationMetric(Given(OnPictures(model), masks), partial(torch.softmax, dim=-1))
    theirs.update(x)
    logits = OnPictures(model)(x)
    k = logits.argmax(1)
    p = fidelity.confidence(logits, k, "softmax")
    after = torch.cat([fidelity.masked_logits(model, x[n], masks[n : n + 1])["softmax"] for n in range(6)])
    q = fidelity.confidence(after, k, "softmax")
    drops, more = (
        [f(*pair) for pair in zip(p.tolist(), q.tolist())] for f in (fidelity.average_drop, fidelity.increase)
    )
    assert np.mean(drops) == pytest.approx(100 * theirs.summary()["avg_drop"], rel=1e-5)  # they add 1e-7 to p
    assert np.mean(more) == pytest.approx(100 * theirs.summary()["conf_increase"])
    assert 0 < np.mean(more) < 100


@pytest.mark.skipif(sys.version_info < (3, 11), reason="torch-cam with these metrics needs Python 3.11")
def test_deletion_and_insertion_agree_with_torch_cam():
    from torchcam.metrics import DeletionInsertionMetric

    model, picture, S = toy(), pictures()[0], maps(1)
    fine = torch.nn.functional.interpolate(S[:, None].float(), (SIDE, SIDE), mode="bicubic")[:, 0]
    for kind, base in (("deletion", fidelity.blank(model, picture)), ("insertion", fidelity.blurred(picture))):
        theirs = DeletionInsertionMetric(
            Given(OnPictures(model), fine), partial(torch.softmax, dim=-1), steps=STEPS, baseline=base[None]
        )
        theirs.update(picture[None])
        k = int(OnPictures(model)(picture[None]).argmax())
        curve = fidelity.path(model, picture, k, fidelity.order(S[0], (SIDE, SIDE)), kind, STEPS)["softmax"]
        assert fidelity.auc(curve) == pytest.approx(100 * theirs.summary()[f"{kind}_auc"], rel=1e-5)
