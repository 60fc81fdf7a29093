"""Accuracy of the bundled model: top-1 on wild20/val, top-1 and GT-known Loc on wild20-boxes.

Protocol of the boxes: CAM of the true class, 14 x 14, bicubic to 224 x 224, min-max (no ReLU), floor(255 x), strictly
above int(0.2 max), largest contour, x1 = x + w and y1 = y + h clipped to 223, inclusive IoU >= 0.5 with any box
(GT-known Loc of the WSOL benchmark at its fixed threshold); n images, 95 % bootstrap interval over images (seed 0).

    python benchmarks/bundled.py ../shared/data
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
import timing  # noqa: F401  (puts the repository on the path)

from bsoftmax import SOURCES, View, class_map, open_model
from bsoftmax.cams.distortions import box_iou
from bsoftmax.data.sets import read_class_folders
from bsoftmax.images import render
from bsoftmax.images.read import read_rgb
from bsoftmax.training.feature_cache import features
from bsoftmax.training.fitting import top1

SIZE = 224


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def interval(hits, rounds=10_000):
    draws = np.random.default_rng(0).choice(hits, (rounds, len(hits))).mean(1)
    return 100 * np.mean(hits), *(100 * np.percentile(draws, [2.5, 97.5]))


def predicted_box(S):
    values = render.minmax(render.upsample(S.numpy(), (SIZE, SIZE)))
    x0, y0, x1, y1 = render.box_at(values, 0.2) or (0, 0, 0, 0)
    return x0, y0, min(x1 + 1, SIZE - 1), min(y1 + 1, SIZE - 1)


def boxes(model, folder):
    """Hits by column on the images with boxes: top-1 of both heads, GT-known Loc by (source, clamp)."""
    split = folder / "test"
    names = (folder / "classes.txt").read_text().split()
    size = {path: (int(w), int(h)) for path, w, h in rows(split / "image_sizes.txt")}
    truth = {}
    for path, *corners in rows(split / "localization.txt"):
        scale = np.tile([SIZE / size[path][0], SIZE / size[path][1]], 2)
        truth.setdefault(path, []).append(tuple(np.array(corners, float) * scale))
    hits = {}
    for path, label in rows(split / "class_labels.txt"):
        view = View(model, model.preprocess(read_rgb(folder / "images" / path)))
        k = model.class_number(names[int(label)])
        for branch in ("softmax", "sigmoid"):
            hits.setdefault(f"top-1, {branch}", []).append(int(view.logits(branch).argmax()) == k)
        for source in SOURCES:
            for clamp in (False, True):
                box = predicted_box(class_map(view.evidence(source, k), "cam", clamp)[0])
                key = f"GT-known Loc, {source}, {'clamped' if clamp else 'unclamped'}"
                hits.setdefault(key, []).append(any(box_iou(box, one) >= 0.5 for one in truth[path]))
    return hits


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--model", default="wild20")
    options = parser.parse_args()
    model = open_model(options.model)
    val = read_class_folders(options.data / "wild20" / "val")
    with tempfile.TemporaryDirectory() as folder:
        seen = features(model, val, Path(folder), precision="float32")
        print("| wild20/val | % | n |\n|---|--:|--:|")
        for branch in ("softmax", "sigmoid"):
            print(f"| top-1, {branch} | {top1(model.classifier(branch), seen):.2f} | {len(val)} |")
    print("\n| wild20-boxes | % | 95 % interval | n |\n|---|--:|--:|--:|")
    for name, hits in boxes(model, options.data / "wild20-boxes").items():
        mean, low, high = interval(np.array(hits, float))
        print(f"| {name} | {mean:.1f} | {low:.1f} to {high:.1f} | {len(hits)} |")


if __name__ == "__main__":
    main()
