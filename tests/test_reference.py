"""The oracle is tried first: by hand on tiny arrays, by closed forms, against torch and against pytorch-grad-cam."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference as ref
import torch

N, P, Q, C = 5, 3, 4, 6
EYE = np.eye(N)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def F(rng):
    """Features after a ReLU: non-negative, some entries zero, no channel dead."""
    return np.maximum(rng.normal(0.3, 1, (N, P, Q)), 0)


@pytest.fixture
def G(rng):
    return rng.normal(size=(N, P, Q))


@pytest.fixture
def W(rng):
    return rng.normal(size=(C, N))


@pytest.fixture
def b(rng):
    return rng.normal(size=C)


def close(got, expected, tolerance=1e-12):
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


# --- scores ---------------------------------------------------------------------------------------------------------


def test_scores_by_hand():
    F = np.array([[[1.0, 3.0]], [[0.0, 4.0]]])
    W, b = np.array([[1.0, -1.0], [2.0, 0.5]]), np.array([0.5, -1.0])
    close(ref.gap(F), [2, 2])
    close(ref.logits(F, W, b), [0.5, 4.0])
    close(ref.softmax([0, np.log(3)]), [1 / 4, 3 / 4])
    close(ref.sigmoid(np.log(3)), 3 / 4)
    close(ref.log_odds([0, np.log(2), np.log(3)], 2), 0)  # 3 against 1 + 2
    close(ref.cam(F, ref.gap_linear_gradient(F, W, 1)), [2, 0.5])
    close(ref.evidence(np.array([1.0, -1.0]), F), [[1, -1]])
    close(ref.evidence(np.array([1.0, -1.0]), F, clamp=True), [[1, 3]])


def test_scores_agree_with_torch(F, W, b):
    z = torch.nn.functional.linear(torch.tensor(F).mean((1, 2)), torch.tensor(W), torch.tensor(b))
    close(ref.logits(F, W, b), z)
    close(ref.softmax(z.tolist()), z.softmax(0))
    close([ref.sigmoid(z_k) for z_k in z.tolist()], z.sigmoid())
    close([ref.log_odds(z.tolist(), k) for k in range(C)], torch.logit(z.softmax(0)))


@pytest.mark.parametrize("score", [lambda z: z[2], lambda z: z[2] - torch.cat((z[:2], z[3:])).logsumexp(0)])
def test_numeric_gradient_agrees_with_autograd(score, F, W, b):
    leaf = torch.tensor(F, requires_grad=True)
    score(torch.tensor(W) @ leaf.mean((1, 2)) + torch.tensor(b)).backward()
    as_floats = lambda f: float(score(torch.tensor(ref.logits(f, W, b))))
    close(ref.numeric_gradient(as_floats, F), leaf.grad, 1e-9)


def test_hand_derived_gradient_agrees_with_numeric_gradient(F, W, b):
    close(ref.gap_linear_gradient(F, W, 1), ref.numeric_gradient(lambda f: ref.logits(f, W, b)[1], F), 1e-9)


# --- alpha ----------------------------------------------------------------------------------------------------------


def test_alphas_by_hand():
    F, G = np.array([[[1.0, 3.0]]]), np.array([[[0.5, -1.0]]])
    close(ref.cam(F, G), [-0.5])
    close(ref.gradcam(F, G), [-0.25])
    close(ref.xgradcam(F, G), [(0.5 * 1 - 1 * 3) / 4])
    close(ref.layercam(F, G), [[[0.5, 0]]])
    close(ref.hirescam(F, G), G)
    close(ref.gradcam_plus_plus(F, G), [0.25 / (2 * 0.25 + 4 * 0.125) * 0.5])


def test_a_dead_channel_weighs_nothing_and_divides_by_nothing():
    dead, G = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    assert all(not alpha(dead, G).any() for alpha in ref.ALPHAS.values())
    assert ref.xgradcam(dead, G + 1) == 0
    assert not ref.eigencam(np.ones((2, 2, 2))).any()


def test_gap_linear_identities(F, W, b):
    """design.md, section 2: one map for four methods, and it adds up to the logit."""
    k, G = 3, ref.gap_linear_gradient(F, W, 3)
    close(ref.cam(F, G), W[k])
    close(ref.gradcam(F, G), W[k] / (P * Q))
    close(ref.xgradcam(F, G), W[k] / (P * Q))
    close(ref.evidence(ref.layercam(F, G), F), ref.evidence(ref.gradcam(F, G), F, clamp=True))
    close(ref.evidence(ref.hirescam(F, G), F), ref.evidence(ref.gradcam(F, G), F))
    close(ref.evidence(ref.cam(F, G), F).mean() + b[k], ref.logits(F, W, b)[k])
    assert not np.allclose(ref.gradcam_plus_plus(F, G), ref.relu(ref.gradcam(F, G)))


def test_grad_cam_plus_plus_closed_form_on_gap_linear(F, W):
    """With G = g > 0 everywhere, a = 1 / (2 + g sum F): the weight is PQ g / (2 + g sum F)."""
    g = W[3] / (P * Q)
    expected = np.where(g > 0, P * Q * g / (2 + g * F.sum((1, 2))), 0)
    close(ref.gradcam_plus_plus(F, ref.gap_linear_gradient(F, W, 3)), expected)


def test_eigencam_is_the_first_singular_vector(F):
    X = F.reshape(N, -1).T
    _, _, vectors = np.linalg.svd(X - X.mean(0))
    alpha = ref.eigencam(F)
    S = ref.evidence(alpha, ref.centred(F))
    close(abs(alpha @ vectors[0]), 1)
    close(S.mean(), 0)
    close(ref.eigencam(-F), alpha)  # the features turn and their sum with them


@pytest.mark.parametrize("loadings", [(2.0, -1.9), (1.9, -2.0), (-2.0, 1.9), (1.0, 1.0)])
def test_eigencam_takes_the_sign_of_the_sum_of_channels(loadings):
    """F_i = c_i x has one direction, c / |c|, turned so that the map rises with (sum_i c_i) x."""
    c, x = np.array(loadings), np.arange(6.0).reshape(2, 3)
    close(ref.eigencam(c[:, None, None] * x), np.sign(c.sum()) * c / np.linalg.norm(c))


def test_ablation_cam_closed_form_on_gap_linear(F, W, b):
    for k in range(C):
        y = ref.logits(F, W, b)[k]
        close(ref.ablationcam(F, lambda f, k=k: ref.logits(f, W, b)[k]), W[k] * F.mean((1, 2)) / abs(y), 1e-9)


def test_score_cam_by_hand():
    """Two channels as large as the input: the masks are [0, 1] and (constant channel) zeros; the score sums x."""
    F, x = np.array([[[1.0, 3.0]], [[2.0, 2.0]]]), np.array([[[5.0, 2.0]]])
    close(ref.scorecam(F, x, np.sum), ref.softmax([2 - 7, 0 - 7]))
    assert ref.scorecam(F, x, np.sum)[0] > ref.scorecam(F, x, np.sum)[1]


# --- against pytorch-grad-cam, called on plain arrays -----------------------------------------------------------------


def peer(name):
    return getattr(pytest.importorskip("pytorch_grad_cam"), name)


@pytest.mark.parametrize(
    ("method", "name", "tolerance"),
    [("gradcam", "GradCAM", 1e-12), ("xgradcam", "XGradCAM", 1e-6)],  # theirs adds 1e-7 to the denominator
)
def test_channel_weights_agree_with_peer(method, name, tolerance, F, G):
    theirs = peer(name).get_cam_weights(None, torch.zeros(1, 3, 8, 8), None, None, F[None], G[None])
    close(ref.ALPHAS[method](F, G), theirs[0], tolerance)


@pytest.mark.parametrize("signed", [False, True])
def test_grad_cam_plus_plus_agrees_with_peer(signed, F, G):
    """Theirs adds 1e-6 to the denominator, so G is kept away from 0 and from the poles of the fraction."""
    F, G = (F - 0.1, G) if signed else (F, G)
    denominator = 2 * G**2 + F.sum((1, 2), keepdims=True) * G**3
    G = np.where((abs(denominator) > 0.05) & (abs(G) > 0.05), G, 0)
    theirs = peer("GradCAMPlusPlus").get_cam_weights(None, None, None, None, F[None], G[None])
    assert (G > 0).sum() > 10
    close(ref.gradcam_plus_plus(F, G), theirs[0], 1e-4)


def test_grad_cam_plus_plus_peer_epsilon_swamps_real_gradients(F, W):
    """At G = w/PQ of a real head (0.05/196) G^2 is 7e-8: the peer's 1e-6 decides its weights, Eq. 19 does not."""
    G = ref.gap_linear_gradient(F, W, 3) * 0.05 * P * Q / 196
    ours = ref.gradcam_plus_plus(F, G)
    theirs = peer("GradCAMPlusPlus").get_cam_weights(None, None, None, None, F[None], G[None])[0]
    assert (theirs[ours > 0] < 0.5 * ours[ours > 0]).all()


@pytest.mark.parametrize(("method", "name"), [("layercam", "LayerCAM"), ("hirescam", "HiResCAM")])
def test_position_weights_agree_with_peer(method, name, F, G):
    theirs = peer(name).get_cam_image(None, None, None, None, F[None], G[None], False)
    close(ref.evidence(ref.ALPHAS[method](F, G), F), theirs[0])


@pytest.mark.parametrize("seed", range(3))
def test_eigencam_agrees_with_peer_up_to_sign(seed):
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    F = np.random.default_rng(seed).gamma(1.0, size=(N, P, Q))
    S = ref.evidence(ref.eigencam(F), ref.centred(F))
    theirs = get_2d_projection(F[None])[0]
    close(S, theirs * np.sign((S * theirs).sum()), 1e-6)


def test_score_cam_agrees_with_peer_where_no_upsampling_is_needed(F):
    """Theirs aligns corners, so the input is as large as F; subtracting score(x) changes no softmax."""
    x = torch.randn(1, 3, P, Q, generator=torch.Generator().manual_seed(0))
    score = lambda image: float((image**2).sum() / 10)
    stub = SimpleNamespace(device="cpu", model=lambda batch: [torch.tensor(score(image)) for image in batch])
    theirs = peer("ScoreCAM").get_cam_weights(stub, x, None, [lambda output: output], F[None].astype(np.float32), None)
    close(ref.scorecam(F, x[0].double().numpy(), score), theirs[0], 1e-5)


# --- maps -----------------------------------------------------------------------------------------------------------


def test_map_steps_by_hand():
    S = np.array([[-2.0, 0.0], [1.0, 2.0]])
    close(ref.relu(S), [[0, 0], [1, 2]])
    close(ref.minmax(S), [[0, 0.5], [0.75, 1]])
    close(ref.minmax(np.full((2, 2), 7.0)), np.zeros((2, 2)))
    assert ref.relu(-np.ones((1, 2))).dtype == np.float64


def test_evidence_agrees_with_einsum(F, G):
    close(ref.evidence(G[:, 0, 0], F), np.einsum("i,ipq->pq", G[:, 0, 0], F))
    close(ref.evidence(G, F, clamp=True), np.einsum("ipq,ipq->pq", np.maximum(G, 0), F))


def test_upsampling_by_hand():
    ramp = np.array([[0.0, 1.0]])
    close(ref.bilinear(ramp, (1, 4)), [[0, 0.25, 0.75, 1]])
    close(ref.bicubic(np.array([[0.0, 0, 1, 1]]), (1, 4)), [[0, 0, 1, 1]])  # the kernel interpolates
    assert ref.bicubic(np.array([[0.0, 0, 1, 1]]), (1, 16)).max() > 1  # and overshoots


@pytest.mark.parametrize("size", [(3, 4), (7, 9), (12, 4), (1, 1), (2, 30)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_upsampling_agrees_with_torch(mode, size, G):
    theirs = torch.nn.functional.interpolate(torch.tensor(G)[None], size=size, mode=mode, align_corners=False)[0]
    close([getattr(ref, mode)(S, size) for S in G], theirs)


# --- distortions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["one channel", "uniform", "flip", "centring"])
def test_shifts_leave_softmax_and_log_odds_and_move_the_map_by_d(name, F, W, b):
    """Eq. 8 and 9; a bare sigmoid does move, a log-odds map does not."""
    k = 3
    d = {
        "one channel": 0.7 * EYE[2],
        "uniform": ref.uniform(N, 5.0),
        "flip": ref.flip(W, k, 50),
        "centring": ref.centring(W),
    }[name]
    before, after = ref.logits(F, W, b), ref.logits(F, ref.shift(W, d), b)
    close(ref.softmax(after), ref.softmax(before))
    close(after - before, [d @ F.mean((1, 2))] * C)
    assert abs(ref.sigmoid(after[k]) - ref.sigmoid(before[k])) > 1e-3
    close(ref.evidence(ref.shift(W, d)[k], F), ref.evidence(W[k], F) + np.einsum("i,ipq->pq", d, F))
    odds = lambda weights: ref.numeric_gradient(lambda f: ref.log_odds(ref.logits(f, weights, b), k), F)
    close(odds(ref.shift(W, d)), odds(W), 1e-8)


def test_flip_by_hand():
    W = np.array([[9.0, 9.0, 9.0, 9.0], [3.0, -4.0, 1.0, 2.0]])
    close(ref.flip(W, 1, 0), [0, 0, 0, 0])
    close(ref.flip(W, 1, 1), [-6, 0, 0, 0])  # ceil(0.03) = 1
    close(ref.flip(W, 1, 34), [-6, 0, 0, -4])  # ceil(1.02) = 2
    close(ref.flip(W, 1, 100), [-6, 0, -2, -4])
    close(ref.shift(W, ref.flip(W, 1, 100))[1], [-3, -4, -1, -2])
    assert np.count_nonzero(ref.flip(np.arange(1.0, 101)[None], 0, 7)) == 7  # exactly 7 %, in spite of floating point


def test_centring_and_uniform_by_hand(W):
    close(ref.centring(np.array([[1.0, 5.0], [3.0, -5.0]])), [-2, 0])
    close(ref.shift(W, ref.centring(W)).mean(0), np.zeros(N))
    assert (ref.shift(W, ref.uniform(N, 100)) < 0).all()  # the collapse: nothing positive is left


# --- training and measures --------------------------------------------------------------------------------------------


def test_branch_loss_by_hand_and_as_weighted_bce(rng):
    close(ref.branch_loss(np.zeros((1, 4)), [2]), 1.5 * np.log(2))  # (3/4 + 3 * 1/4) log 2
    z, labels = rng.normal(size=(7, C)), rng.integers(0, C, 7)
    weighted = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(C - 1.0))
    close(ref.branch_loss(z, labels), weighted(torch.tensor(z), torch.tensor(np.eye(C)[labels])))


def test_spearman(rng):
    a, b = rng.normal(size=(P, Q)), rng.normal(size=(P, Q))
    d, n = a.ravel().argsort().argsort() - b.ravel().argsort().argsort(), P * Q
    close(ref.spearman(a, b), 1 - 6 * (d**2).sum() / (n * (n**2 - 1)))  # exact when there are no ties
    close(ref.spearman(a, np.exp(a)), 1)
    close(ref.spearman(a, -a), -1)
    assert np.isnan(ref.spearman(a, np.ones((P, Q))))


def test_spearman_shares_ranks_between_ties():
    assert ref.ranks(np.array([3, 1, 3, 2])) == [3.5, 1, 3.5, 2]
    close(ref.spearman(np.array([1, 1, 2]), np.array([1, 2, 3])), np.sqrt(3) / 2)


def test_iou_by_hand():
    assert ref.iou((0, 0, 9, 9), (0, 0, 9, 9)) == 1
    assert ref.iou((2, 2, 2, 2), (2, 2, 2, 2)) == 1  # one pixel is a box of area 1
    assert ref.iou((0, 0, 1, 0), (1, 0, 2, 0)) == 1 / 3
    assert ref.iou((0, 0, 1, 1), (5, 5, 6, 6)) == ref.iou((0, 0, 1, 1), (2, 0, 3, 1)) == 0


def test_sign_changes_by_hand():
    assert ref.sign_changes(np.array([[1.0, -1.0, 2.0, 0.0]]), np.array([[-3.0, -1.0, 1.0, 5.0]])) == 1 / 4
