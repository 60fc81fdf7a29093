"""Every formula again, slowly: loops over float64 arrays, one function an equation, nothing shared with bsoftmax.

The letters are the paper's ("Beyond Softmax"; a bare equation number is its own), only the logits are z: one image
at a time, F and G = dz_k/dF are [N,P,Q], W is [C,N] (row k holds the w_ik of class k), b is [C], maps S are [P,Q].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray

# --- scores ---------------------------------------------------------------------------------------------------------


def total(A: ndarray) -> float:
    """The sum of all entries: the sum_pq of every equation."""
    return sum(float(value) for value in A.flat)


def gap(F: ndarray) -> ndarray:
    """The mean of every channel over its positions (Eq. 3, right)."""
    return np.array([total(F_i) / F_i.size for F_i in F])


def logits(F: ndarray, W: ndarray, b: ndarray) -> ndarray:
    """z_k = sum_i w_ik mean(F_i) + b_k, a GAP + linear head (Eq. 1, 3)."""
    return np.array([sum(w * mean for w, mean in zip(W_k, gap(F))) + b_k for W_k, b_k in zip(W, b)])


def softmax(z: Sequence[float]) -> ndarray:
    """y_k = exp(z_k) / sum_j exp(z_j) (Eq. 2)."""
    return np.array([math.exp(z_k) / sum(math.exp(z_j) for z_j in z) for z_k in z])


def sigmoid(z: float) -> float:
    """s = 1 / (1 + exp(-z)) (Eq. 11)."""
    return 1 / (1 + math.exp(-z))


def log_odds(z: Sequence[float], k: int) -> float:
    """log y_k / (1 - y_k) = z_k - log sum_{j != k} exp(z_j), from Eq. 2 (design.md, section 2)."""
    return z[k] - math.log(sum(math.exp(z[j]) for j in range(len(z)) if j != k))


def centred_logit(z: Sequence[float], k: int) -> float:
    """z_k minus the mean of all z_j, the logit of a head whose rows have their mean over classes taken out."""
    return z[k] - sum(z) / len(z)


def numeric_gradient(score: Callable[[ndarray], float], F: ndarray, step: float = 1e-5) -> ndarray:
    """G = dscore/dF by central differences, one entry of F at a time (the derivative in Eq. 5)."""
    G = np.zeros(F.shape)
    for at in np.ndindex(F.shape):
        bump = np.zeros(F.shape)
        bump[at] = step
        G[at] = (score(F + bump) - score(F - bump)) / (2 * step)
    return G


def gap_linear_gradient(F: ndarray, W: ndarray, k: int) -> ndarray:
    """G = dz_k/dF = w_ik / PQ at every position, Eq. 3 differentiated by hand."""
    N, P, Q = F.shape
    return np.array([[[W[k, i] / (P * Q)] * Q] * P for i in range(N)])


# --- alpha: how much each channel, or each entry of F, counts ---------------------------------------------------------


def cam(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i = sum_pq G, which is w_ik itself under GAP + linear (Zhou et al. 2016; Eq. 4)."""
    return np.array([total(G_i) for G_i in G])


def gradcam(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i = 1/(PQ) sum_pq G (Selvaraju et al. 2017, Eq. 1; Eq. 5)."""
    return np.array([total(G_i) / G_i.size for G_i in G])


def gradcam_plus_plus(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i = sum_pq a relu(G), a = G^2 / (2 G^2 + sum_ab F G^3), 0/0 = 0 (Chattopadhay et al. 2018, Eq. 19)."""
    alpha = np.zeros(len(F))
    for (i, _, _), g in np.ndenumerate(G):
        denominator = 2 * g**2 + total(F[i]) * g**3
        alpha[i] += g**2 / denominator * max(g, 0) if denominator else 0
    return alpha


def xgradcam(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i = sum_pq G F / sum_pq F, 0 for a channel that sums to 0 (Fu et al. 2020, the definition of XGrad-CAM)."""
    return np.array([total(G_i * F_i) / total(F_i) if total(F_i) else 0.0 for F_i, G_i in zip(F, G)])


def layercam(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i(p,q) = relu(G), one weight a position (Jiang et al. 2021, the definition of Layer-CAM)."""
    return relu(G)


def hirescam(F: ndarray, G: ndarray) -> ndarray:
    """alpha_i(p,q) = G, one weight a position (Draelos & Carin 2020, the definition of HiResCAM)."""
    return np.array(G)


def eigencam(F: ndarray, steps: int = 2_000) -> ndarray:
    """alpha = first right singular vector of the centred [PQ,N] matrix, by power iteration (Muhammad & Yeasin 2020).

    The map is evidence(alpha, centred(F)), signed to correlate non-negatively with sum_i F_i. Constant F gives zeros.
    """
    Z = centred(F)
    gram = [[total(Z_i * Z_j) for Z_j in Z] for Z_i in Z]
    v = [math.sqrt(i + 2) for i in range(len(F))]  # any start that is not orthogonal to the answer
    for _ in range(steps):
        v = [sum(g * v_j for g, v_j in zip(row, v)) for row in gram]
        length = math.hypot(*v)
        v = [v_i / length if length else 0.0 for v_i in v]
    covariance = total(evidence(np.array(v), Z) * evidence(np.ones(len(F)), F))
    return np.array(v) if covariance >= 0 else -np.array(v)


def ablationcam(F: ndarray, score: Callable[[ndarray], float]) -> ndarray:
    """alpha_i = (y - y_without_i) / |y|, channel i set to 0 (Ramaswamy & Desai 2020, the slope; |y| keeps its sign)."""
    without = [np.array([F_j * (j != i) for j, F_j in enumerate(F)]) for i in range(len(F))]
    return np.array([(score(F) - score(F_without)) / abs(score(F)) for F_without in without])


def scorecam(F: ndarray, x: ndarray, score: Callable[[ndarray], float]) -> ndarray:
    """alpha = softmax_i(score(x * mask_i) - score(x)), mask_i = minmax(bilinear(F_i)) (Wang et al. 2020; Eq. 7)."""
    masks = [minmax(bilinear(F_i, x.shape[1:])) for F_i in F]
    masked = [np.array([channel * mask for channel in x]) for mask in masks]
    return softmax([score(m) - score(x) for m in masked])


# The methods that are functions of (F, G) alone, by name.
ALPHAS = {"cam": cam, "gradcam": gradcam, "gradcam++": gradcam_plus_plus, "xgradcam": xgradcam}
ALPHAS |= {"layercam": layercam, "hirescam": hirescam}

# --- maps -----------------------------------------------------------------------------------------------------------


def evidence(alpha: ndarray, F: ndarray, clamp: bool = False) -> ndarray:
    """S(p,q) = sum_i alpha_i F_i(p,q), with max(0, alpha) when clamped (Eq. 4; Sec. 3.3); alpha is [N] or [N,P,Q]."""
    alpha = relu(alpha) if clamp else alpha
    S = np.zeros(F.shape[1:])
    for i, p, q in np.ndindex(F.shape):
        S[p, q] += (alpha[i] if alpha.ndim == 1 else alpha[i, p, q]) * F[i, p, q]
    return S


def centred(F: ndarray) -> ndarray:
    """F_i - mean(F_i), what Eigen-CAM projects in pytorch-grad-cam (Muhammad & Yeasin 2020 do not centre)."""
    return np.array([F_i - mean for F_i, mean in zip(F, gap(F))])


def relu(S: ndarray) -> ndarray:
    """max(0, S) at every position (Eq. 6)."""
    return np.array([max(s, 0.0) for s in S.flat]).reshape(S.shape)


def minmax(S: ndarray) -> ndarray:
    """(S - min S) / (max S - min S); a constant map becomes zeros (design.md, section 6)."""
    low, high = min(S.flat), max(S.flat)
    return np.array([(s - low) / (high - low) if high > low else 0.0 for s in S.flat]).reshape(S.shape)


def bilinear(S: ndarray, size: tuple[int, int]) -> ndarray:
    """Resampling with the tent 1 - |t| at half-pixel centres (align_corners=False, no antialiasing)."""
    return _resample(S, size, lambda t: max(1 - abs(t), 0))


def bicubic(S: ndarray, size: tuple[int, int], a: float = -0.75) -> ndarray:
    """Resampling with the cubic convolution kernel at half-pixel centres (Keys 1981, with a general a)."""
    near = lambda t: (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = lambda t: a * (t**3 - 5 * t**2 + 8 * t - 4)
    return _resample(S, size, lambda t: near(abs(t)) if abs(t) <= 1 else far(abs(t)) if abs(t) <= 2 else 0)


def _resample(S: ndarray, size: tuple[int, int], kernel: Callable[[float], float]) -> ndarray:
    """out(y,x) = sum_pq kernel(v - p) kernel(u - q) S(p,q) at v = (y + 1/2) P/H - 1/2; outside S its border repeats."""
    (P, Q), (H, W) = S.shape, size
    out = np.zeros((H, W))
    for y, x in np.ndindex(H, W):
        v, u = (y + 0.5) * P / H - 0.5, (x + 0.5) * Q / W - 0.5
        for p in range(math.floor(v) - 1, math.floor(v) + 3):
            for q in range(math.floor(u) - 1, math.floor(u) + 3):
                inside = S[min(max(p, 0), P - 1), min(max(q, 0), Q - 1)]
                out[y, x] += kernel(v - p) * kernel(u - q) * inside
    return out


# --- distortions: d is what every class row of W receives -------------------------------------------------------------


def shift(W: ndarray, d: Sequence[float]) -> ndarray:
    """w'_ik = w_ik + d_i for all k: softmax stays, the map gains sum_i d_i F_i; Eq. 9 is d = delta e_i (Eq. 8, 9)."""
    return np.array([[w + d_i for w, d_i in zip(W_k, d)] for W_k in W])


def uniform(N: int, delta: float) -> ndarray:
    """d = -delta 1, the sign collapse as printed: delta is subtracted from every weight (Eq. 10)."""
    return np.array([-delta for _ in range(N)])


def flip(W: ndarray, k: int, percent: float) -> ndarray:
    """d_i = -2 w_ik for the strongest `percent` (rounded up) of class k's positive channels (design.md, section 3)."""
    positive = sorted((i for i in range(W.shape[1]) if W[k, i] > 0), key=lambda i: -W[k, i])
    chosen = positive[: math.ceil(percent * len(positive) / 100)]  # product first: 7 / 100 * 100 is above 7
    return np.array([-2 * W[k, i] if i in chosen else 0.0 for i in range(W.shape[1])])


def centring(W: ndarray) -> ndarray:
    """d_i = -1/C sum_k w_ik: the shift after which the class-mean row is zero (design.md, section 3)."""
    return np.array([-total(column) / len(W) for column in W.T])


# --- training and measures --------------------------------------------------------------------------------------------


def branch_loss(z: ndarray, labels: Sequence[int]) -> float:
    """L = -1/B sum_n [(1 - 1/C) log s_y + 1/C sum_{k != y} log(1 - s_k)], s = sigmoid(z), z is [B,C] (Eq. 12)."""
    B, C = z.shape
    bracket = 0.0
    for n in range(B):
        s = [sigmoid(z_k) for z_k in z[n]]
        bracket += (1 - 1 / C) * math.log(s[labels[n]])
        bracket += 1 / C * sum(math.log(1 - s[k]) for k in range(C) if k != labels[n])
    return -bracket / B


def spearman(a: ndarray, b: ndarray) -> float:
    """Pearson's correlation of the average ranks of two maps (Spearman 1904); NaN when either is constant."""
    x, y = centred(np.array([ranks(a), ranks(b)]))
    spread = total(x**2) * total(y**2)
    return total(x * y) / math.sqrt(spread) if spread else math.nan


def ranks(a: ndarray) -> list[float]:
    """1 + (how many are smaller) + (how many others are equal) / 2: ties share their average rank (Kendall 1945)."""
    values = list(a.flat)
    return [1 + sum(v < u for v in values) + (sum(v == u for v in values) - 1) / 2 for u in values]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of (x0, y0, x1, y1), both ends inside the box: + 1 (Choe et al. 2020, their code)."""
    area = lambda x0, y0, x1, y1: max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)
    both = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    return both / (area(*a) + area(*b) - both)


def sign_changes(a: ndarray, b: ndarray) -> float:
    """The fraction of positions whose values have strictly opposite signs (sign collapse, Sec. 3.2); 0 has no sign."""
    return sum(u * v < 0 for u, v in zip(a.flat, b.flat)) / a.size


# --- intervals --------------------------------------------------------------------------------------------------------


def normal_tail(z: float) -> float:
    """P(|Z| > z) of a standard normal Z."""
    return math.erfc(z / math.sqrt(2))


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where an increasing f is 0, by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return low


def wilson(x: int, n: int) -> tuple[float, float]:
    """The shares pi with (x/n - pi)^2 = z^2 pi (1 - pi) / n, P(|Z| > z) = .05 (Wilson 1927): the roots, in percent."""
    z2 = root(lambda z: 0.05 - normal_tail(z), 0, 9) ** 2
    apart = math.sqrt(z2**2 + 4 * z2 * x * (n - x) / n)
    return tuple(100 * (2 * x + z2 + sign * apart) / (2 * (n + z2)) for sign in (-1, 1))


def agresti_coull(x: int, n: int) -> tuple[float, float]:
    """p +- z sqrt(p (1 - p) / N), p = (x + z^2/2) / N, N = n + z^2 (Agresti and Coull 1998), in percent."""
    z = root(lambda z: 0.05 - normal_tail(z), 0, 9)
    N = n + z**2
    p = (x + z**2 / 2) / N
    return tuple(100 * min(max(p + sign * z * math.sqrt(p * (1 - p) / N), 0), 1) for sign in (-1, 1))


def bonett_price(better: int, worse: int, n: int) -> tuple[float, float]:
    """p - q +- z sqrt((p + q - (p - q)^2) / (n + 2)), p = (better + 1) / (n + 2) (Bonett and Price 2012)."""
    z = root(lambda z: 0.05 - normal_tail(z), 0, 9)
    p, q = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    return tuple(100 * (p - q + sign * z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))) for sign in (-1, 1))


def student(degrees: int) -> float:
    """t with P(|T| > t) = .05, by Simpson's rule over Student's density (1908)."""
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    density = lambda t: math.exp(scale - (degrees + 1) / 2 * math.log1p(t**2 / degrees))

    def inside(t: float, steps: int = 400) -> float:
        weights = [1, *(4 if i % 2 else 2 for i in range(1, steps)), 1]
        return 2 * t / steps / 3 * sum(w * density(i * t / steps) for i, w in enumerate(weights))

    return root(lambda t: inside(t) - 0.95, 0, 20)


def hall(values: Sequence[float], t: float) -> tuple[float, float]:
    """The means mu with |T + g T^2/3 + g^2 T^3/27 + g/6| = t, T = (mean - mu) / (s / sqrt n), g = skewness / sqrt n.

    Hall (1992, J. R. Statist. Soc. B 54), with Student's t.
    """
    n = len(values)
    mean = sum(values) / n
    second, third = (sum((v - mean) ** k for v in values) / n for k in (2, 3))
    error, g = math.sqrt(second / (n - 1)), third / second**1.5 / math.sqrt(n)
    corrected = lambda T: T + g * T**2 / 3 + g**2 * T**3 / 27 + g / 6
    return tuple(mean - error * root(lambda T, end=end: corrected(T) - end, -1e4, 1e4) for end in (t, -t))


def holm(p: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of m hypotheses are rejected: the smallest p at level/m, the next at level/(m-1) ... (Holm 1979)."""
    left, rejected = list(range(len(p))), [False] * len(p)
    while left:
        least = min(left, key=lambda i: p[i])
        if p[least] >= level / len(left):
            break
        rejected[least] = True
        left.remove(least)
    return rejected


# the score of each evidence source, by its key
SCORES = {"softmax": lambda z, k: z[k], "sigmoid": lambda z, k: z[k], "log-odds": log_odds, "centred": centred_logit}
