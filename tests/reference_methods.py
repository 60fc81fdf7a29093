"""The formulas of methods other than CAMs, slowly: see reference.py, whose letters and loops these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy import ndarray
from reference import bilinear, evidence, gap, minmax, numeric_gradient, relu, softmax, total


def liftcam(F: ndarray, layers: Sequence[tuple[ndarray, ndarray]], m: ndarray) -> ndarray:
    """alpha_i = C_{h_i, t}, t = sum_j m_j z_j: DeepLIFT's rescale rule from F = 0 (Jung & Oh 2021; Shrikumar 2017).

    Behind pooling: the (W, b) of linear layers with ReLU between. ReLU's multiplier is its difference out over that in,
    the multipliers of layers are multiplied (chain rule), and C_i is that of h_i times h_i.
    """
    z, z0, slopes = gap(F), np.zeros(len(F)), []
    for n, (W, b) in enumerate(layers):
        z, z0 = (np.array([total(row * v) + b_k for row, b_k in zip(W, b)]) for v in (z, z0))
        if n < len(layers) - 1:
            slopes.append([(max(a, 0) - max(a0, 0)) / (a - a0) for a, a0 in zip(z, z0)])
            z, z0 = relu(z), relu(z0)
    for n in reversed(range(len(layers))):
        m = np.array([total(m * column) for column in layers[n][0].T]) * (slopes[n - 1] if n else 1)
    return m * gap(F)


def opticam(F: ndarray, x: ndarray, score: Callable[[ndarray], float], steps: int, rate: float = 0.1) -> ndarray:
    """alpha = softmax(u), u maximising score(x * minmax(bilinear(sum_i softmax(u)_i F_i))) (Zhang et al. 2024).

    From u = 0 by Adam (Kingma & Ba 2015, Algorithm 1) with numeric gradients.
    """
    objective = lambda u: -score(x * minmax(bilinear(evidence(softmax(u), F), x.shape[1:])))
    u, first, second = np.zeros(len(F)), np.zeros(len(F)), np.zeros(len(F))
    for t in range(1, steps + 1):
        g = numeric_gradient(objective, u)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        u = u - rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    return softmax(u)


def rise(masks: ndarray, f: Sequence[float], keep: float) -> ndarray:
    """S = 1 / (n E[M]) sum_i f(x * M_i) M_i, E[M] = keep (Petsiuk et al. 2018)."""
    S = np.zeros(masks.shape[1:])
    for M, f_i in zip(masks, f):
        S += f_i * M / (len(masks) * keep)
    return S


def rollout(attentions: Sequence[ndarray]) -> ndarray:
    """R_L = prod_l (A_l + 1) / 2, the last layer leftmost (Abnar & Zuidema 2020, Eq. 1, with residuals as 0.5 I)."""
    T = len(attentions[0])
    R = np.array([[float(i == j) for j in range(T)] for i in range(T)])
    for A in attentions:
        half = [[(A[i, j] + (i == j)) / 2 for j in range(T)] for i in range(T)]
        R = np.array([[sum(half[i][n] * R[n, j] for n in range(T)) for j in range(T)] for i in range(T)])
    return R


def integrated_gradients(x: ndarray, gradient: Callable[[ndarray], ndarray], steps: int) -> ndarray:
    """x integral_0^1 dscore(t x)/dx dt by the midpoint rule, from 0 (Sundararajan et al. 2017, Eq. 1)."""
    return x * sum(gradient((n + 0.5) / steps * x) for n in range(steps)) / steps
