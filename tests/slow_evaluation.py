"""The pictures an evaluation is tried on, and the slow formulas for everything it must find on one of them."""

from __future__ import annotations

import math

import cv2
import numpy as np
import reference as slow
import reference_metrics as ref
import reference_render
import torch
from PIL import Image
from toys import SIDE, C

CLASSES = tuple(f"class {k}" for k in range(C))
GRADIENTS = {
    "cam": slow.cam, "gradcam": slow.gradcam, "gradcam++": slow.gradcam_plus_plus, "xgradcam": slow.xgradcam,
    "layercam": slow.layercam, "hirescam": slow.hirescam,
}  # fmt: skip
SIZE = (30, 20)
BOXES = {0: [(3, 2, 20, 15)], 1: [(0, 0, 8, 8), (12, 6, 29, 19)]}  # of the n-th picture of every class


def picture(k, n):
    rng = np.random.default_rng([k, n])
    pixels = cv2.GaussianBlur(rng.uniform(0, 255, (SIZE[1], SIZE[0], 3)), (0, 0), 2.0)
    x0, y0, x1, y1 = BOXES[n][-1]
    pixels[y0 : y1 + 1, x0 : x1 + 1, k % 3] += 90
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_pictures(root):
    """Two pictures of each of the toy's classes, with boxes."""
    lines = ["path,x0,y0,x1,y1"]
    for k, name in enumerate(CLASSES):
        (root / name).mkdir()
        for n, boxes in BOXES.items():
            picture(k, n).save(root / name / f"{n}.png")
            lines += [f"{name}/{n}.png,{','.join(map(str, box))}" for box in boxes]
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return root


class Slowly:
    """Everything about one picture, from the papers: the toy is asked for F and logits only."""

    def __init__(self, model, k, n):
        self.model, self.label, self.n = model, k, n
        squeezed = picture(k, n).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        self.pixels = np.asarray(squeezed).transpose(2, 0, 1) / 255
        self.z = self.logits(self.pixels)
        self.predicted = int(np.argmax(self.z["softmax"]))
        self.heads = {
            head: [p.numpy() for p in getattr(model, head).parameters()] for head in ("softmax", "sigmoid")
        }  # fmt: skip

    def x(self, pixels):
        return torch.from_numpy((pixels - 0.5) / 0.5)[None]

    def logits(self, pixels):
        return {head: rows[0].numpy() for head, rows in self.model(self.x(pixels)).items()}

    def map(self, column, k, pixels):
        method, source, clamp = column
        F = self.model.trunk(self.x(pixels))[0][0].numpy()
        W, b = self.heads["sigmoid" if source == "sigmoid" else "softmax"]
        if source == "log-odds":
            z, shift = slow.logits(F, W, b), []
            for j in range(len(z)):  # d log-odds / d z_j
                others = [z[i] for i in range(len(z)) if i != k]
                shift.append(1.0 if j == k else -math.exp(z[j]) / sum(map(math.exp, others)))
            W = np.array(shift) @ W
            W, k = W[None], 0
        elif source == "centred":
            W = W - W.mean(0)
        G = slow.gap_linear_gradient(F, W, k)
        return slow.evidence(GRADIENTS[method](F, G), F, clamp)

    def mask(self, column, k, pixels):
        S = slow.minmax(slow.relu(self.map(column, k, pixels)))
        return np.clip(reference_render.bicubic(S, (SIDE, SIDE)), 0, 1)

    def confidence(self, z, head, k):
        return ref.softmax(z[head].tolist(), k) if head == "softmax" else slow.sigmoid(z[head][k])

    def fidelity(self, column):
        k = self.predicted
        mask = self.mask(column, k, self.pixels)
        z = self.logits(self.pixels * mask)
        again = self.mask(column, k, self.pixels * mask)
        coherency = (
            0.0 if again.max() == again.min() or mask.max() == mask.min() else (ref.pearson(mask, again) + 1) * 50
        )
        out = {"coherency": coherency, "complexity": 100 * mask.sum() / mask.size}
        for ending, head in (("", "softmax"), (".own", "sigmoid" if column[1] == "sigmoid" else "softmax")):
            p, q = self.confidence(self.z, head, k), self.confidence(z, head, k)
            out[f"average_drop{ending}"] = 100 * max(0, p - q) / p
            out[f"increase{ending}"] = 100.0 * (q > p)
            out[f"average_gain{ending}"] = 100 * max(0, q - p) / (1 - p)
            parts = (coherency, 100 - out["complexity"], 100 - out[f"average_drop{ending}"])
            out[f"adcc{ending}"] = 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0
        S = self.map(column, k, self.pixels)
        return out | {"negative": 100 * (S < 0).mean(), "blank": 100.0 * (S <= 0).all()}

    def levels(self, column, mode):
        S = self.map(column, self.label, self.pixels)
        if mode == "bilinear":
            S = np.maximum(S, 0)
        fine = cv2.resize(S, (224, 224), interpolation=cv2.INTER_CUBIC if mode == "bicubic" else cv2.INTER_LINEAR)
        low, high = fine.min(), fine.max()
        return np.floor(255 * (fine - low) / (high - low) if high > low else 0 * fine).astype(np.uint8)

    @property
    def boxes(self):
        across, down = 224 / SIZE[0], 224 / SIZE[1]
        return [(int(a * across), int(b * down), int(c * across), int(d * down)) for a, b, c, d in BOXES[self.n]]


def columns_of(methods):
    return [(m, s, c) for m in methods for s in ("softmax", "sigmoid", "log-odds", "centred") for c in (False, True)]
