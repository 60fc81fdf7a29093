"""Scores against their definitions, and what the log-odds promise: blind to a common shift, finite at any size."""

import pytest
import reference as ref
import torch
from toys import refusal

from bsoftmax.cams.sources import SOURCES, centred, find, log_odds, logit

B, C = 7, 6


@pytest.fixture
def z():
    return torch.randn(B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.fixture
def k():
    return torch.tensor([0, 5, 2, 2, 4, 1, 3])


def test_every_source_has_a_reference():
    assert SOURCES.keys() == ref.SCORES.keys()
    assert all(key == source.key == find(key).key for key, source in SOURCES.items())


@pytest.mark.parametrize("source", SOURCES)
def test_score_agrees_with_reference(source, z, k):
    expected = [ref.SCORES[source](row.tolist(), int(i)) for row, i in zip(z, k)]
    torch.testing.assert_close(SOURCES[source].score(z, k), torch.tensor(expected, dtype=torch.float64))


def test_each_source_asks_the_classifier_and_clamps_as_documented():
    """design.md, sections 2 and 4: only the branch is clamped by default; the log-odds are of the frozen head."""
    asked = {key: (source.branch, source.clamp) for key, source in SOURCES.items()}
    assert asked == {"softmax": ("softmax", False), "sigmoid": ("sigmoid", True)} | dict.fromkeys(
        ("log-odds", "centred"), ("softmax", False)
    )


def test_log_odds_are_the_logit_of_the_softmax_probability(z, k):
    p = z.softmax(1).gather(1, k[:, None]).squeeze(1)
    torch.testing.assert_close(log_odds(z, k), torch.logit(p))


@pytest.mark.parametrize("shift", [-50.0, 1e-3, 50.0])
def test_a_shift_common_to_all_classes_moves_logits_but_no_invariant_score(shift, z, k):
    for source in SOURCES.values():
        same = torch.allclose(source.score(z + shift, k), source.score(z, k), rtol=1e-10, atol=1e-10)
        assert same == source.invariant, source.key
    torch.testing.assert_close(logit(z + shift, k), logit(z, k) + shift)


def test_the_centred_score_is_the_logit_of_centred_rows(k):
    rng = torch.Generator().manual_seed(1)
    W, h = torch.randn(C, 5, generator=rng, dtype=torch.float64), torch.randn(B, 5, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(centred(h @ W.T, k), logit(h @ (W - W.mean(0)).T, k))


def test_the_gradient_of_log_odds_sums_to_zero_over_classes(z, k):
    z.requires_grad_()
    (G,) = torch.autograd.grad(log_odds(z, k).sum(), z)
    torch.testing.assert_close(G.sum(1), torch.zeros(B, dtype=torch.float64))
    torch.testing.assert_close(G.gather(1, k[:, None]).squeeze(1), torch.ones(B, dtype=torch.float64))


@pytest.mark.parametrize("row", [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [3e38, 0.0, 0.0], [88.0, 88.0, 89.0]])
def test_extreme_logits_in_single_precision_stay_finite(row):
    """log(p / (1 - p)) computed from p would be infinite from a logit of 17 on."""
    z = torch.tensor([row] * 3, requires_grad=True)
    score = log_odds(z, torch.arange(3))
    (G,) = torch.autograd.grad(score.sum(), z)
    assert score.isfinite().all()
    assert G.isfinite().all()


def test_log_odds_of_a_confident_head_keep_their_precision():
    """p = 1 to the last bit of float32, yet the score still tells 40 from 60."""
    z = torch.tensor([[40.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    torch.testing.assert_close(log_odds(z, torch.tensor([0, 0])), torch.tensor([40.0, 60.0]) - torch.tensor(2.0).log())


def test_unknown_source_is_refused_by_name():
    message = refusal(lambda: find("softmin"))
    assert "softmin" in message
    assert all(key in message for key in SOURCES)
