"""Draws docs/thumbnail.png, which the Space shows where its address is shared: python scripts/thumbnail.py

Three maps of the same probabilities: a class's map S = sum_i w_i F_i of drawn features, and S + delta sum_i F_i for two
shifts delta, which softmax cannot see (Eq. 8 and 9 of the paper).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

OUT = Path(__file__).resolve().parents[1] / "docs" / "thumbnail.png"
SHIFTS = (0.0, 0.5, -0.5)
LINE = "Three maps, one answer: the shift leaves every probability as it is."


def features(side: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Drawn features F [N,side,side] and a class's weights [N]: two that speak for it, three that speak against it."""
    y, x = np.mgrid[0:side, 0:side] / side
    places = [(0.36, 0.40, 0.10), (0.52, 0.46, 0.08), (0.80, 0.76, 0.14), (0.22, 0.82, 0.12), (0.84, 0.20, 0.12)]
    F = np.stack([np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s * s)) for a, b, s in places])
    return F, np.array([0.9, 0.7, -0.2, -0.3, -0.2])


def main() -> None:
    """Writes the picture, 1200 x 630 pixels."""
    F, w = features()
    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#0f172a")
    figure.text(0.05, 0.86, "bsoftmax", color="white", size=44, weight="bold")
    figure.text(0.05, 0.78, "What a softmax head and a sigmoid branch look at", color="#cbd5e1", size=22)
    for n, delta in enumerate(SHIFTS):
        axes = figure.add_axes((0.05 + 0.305 * n, 0.14, 0.29, 0.29 * 12 / 6.3))
        axes.imshow(np.einsum("i,ipq->pq", w + delta, F), cmap="coolwarm", vmin=-1, vmax=1)
        axes.axis("off")
        title = "softmax" if delta == 0 else f"shifted by {delta:+.1f}"
        axes.set_title(title, color="white", size=17, pad=6, loc="left")
    figure.text(0.05, 0.06, LINE, color="#cbd5e1", size=18)
    figure.savefig(OUT, metadata={"Software": None})


if __name__ == "__main__":
    main()
