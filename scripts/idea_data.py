"""Writes the numbers behind docs/idea.md's figures: python scripts/idea_data.py

One photograph of Gradio's, the bundled ImageNet model: logits, maps and weights of the class predicted, and what the
same number added to every weight of every class (Eq. 10) makes of them. Into docs/live/data.js, which opens from
the disk too.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from bsoftmax import View, class_map, open_model
from bsoftmax.cams.distortions import centring, shifted
from bsoftmax.images.read import read_rgb, square
from bsoftmax.images.render import colour
from bsoftmax.models.losses import balanced_bce

OUT = Path(__file__).resolve().parents[1] / "docs" / "live" / "data.js"
PHOTO = "lion.jpg"
SIDE = 168  # pixels of the photograph
STEPS = np.round(np.arange(-20, 21) / 10, 1)  # of the slider, in units of the rows' root mean square norm
CHANNELS, TOP, COLOURS = 24, 5, 64  # weights and classes shown, entries of the colour map


def packed(values: np.ndarray) -> str:
    """Bytes for the page."""
    return base64.b64encode(np.asarray(values, dtype=np.uint8).tobytes()).decode()


def in_bytes(S: Tensor) -> str:
    """ReLU and min-max in 256 levels, as the page's default draws a map; nothing where ReLU leaves nothing."""
    M = S.relu()
    return "" if not M.any() else packed((255 * (M - M.min()) / (M.max() - M.min()).clamp(min=1e-12)).round().numpy())


def rounded(values: Tensor, digits: int) -> list[float]:
    """Numbers for JSON."""
    return [round(v, digits) for v in values.flatten().tolist()]


def picture() -> str:
    """The photograph as the network sees it, a square, as a data URI."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(square(read_rgb(gr.get_image(PHOTO)), SIDE)).save(out, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def made() -> dict[str, Any]:
    """Everything but the photograph."""
    model = open_model()
    view = View(model, model.preprocess(read_rgb(gr.get_image(PHOTO))))
    weight, F = model.softmax.weight.detach(), view.F[0]
    z = {head: view.logits(head)[0] for head in ("softmax", "sigmoid")}
    k, unit = int(z["softmax"].argmax()), float(weight.square().sum(1).mean().sqrt()) / weight.shape[1] ** 0.5
    d = [torch.full((weight.shape[1],), float(t) * unit) for t in STEPS]
    heads = [shifted(model.softmax, one) for one in d]
    clamped = [class_map(view.evidence("softmax", k, head), "cam", True)[0] for head in heads]
    centred = shifted(model.softmax, centring(weight))
    order = weight[k].argsort(descending=True)
    shown = order[torch.linspace(0, len(order) - 1, CHANNELS).round().long()]  # from the largest to the smallest
    best = z["softmax"].argsort(descending=True)[:TOP].tolist()
    label = torch.tensor([k])
    moved = [float(one.sum() / weight.shape[1] * view.h[0].sum()) for one in d]  # d . h
    return {
        "steps": STEPS.tolist(), "unit": round(unit, 6), "side": F.shape[1], "class": k, "top": best,
        "names": [model.classes[n] for n in best], "logits": rounded(z["softmax"], 2),
        "h": round(float(view.h[0].sum()), 4),
        "S": rounded(class_map(view.evidence("softmax", k), "cam", False)[0], 3), "total": rounded(F.sum(0), 2),
        "clamped": [in_bytes(S) for S in clamped],
        "centred": in_bytes(class_map(view.evidence("softmax", k, centred), "cam", False)[0]),
        "branch": in_bytes(class_map(view.evidence("sigmoid", k), "cam", True)[0]),
        "width": len(order), "channels": shown.tolist(), "weights": rounded(weight[k, shown], 4),
        "crossEntropy": [round(float(nnf.cross_entropy(z["softmax"][None] + c, label)), 4) for c in moved],
        "eq12": [round(float(balanced_bce(z["sigmoid"][None] + c, label)), 4) for c in moved],
        "colours": packed(colour(np.linspace(0, 1, COLOURS)).flatten()),
    }  # fmt: skip


def main() -> None:
    """Writes docs/live/data.js."""
    OUT.parent.mkdir(exist_ok=True)
    text = json.dumps({**made(), "photo": picture()}, separators=(",", ":"))
    OUT.write_text(f"window.bsoftmaxIdea={text};\n", encoding="utf-8")
    print(f"wrote {OUT} ({OUT.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
