"""Tuning of the branch's training for the fidelity of its maps, on one half of wild20/val.

Protocol: branches of the bundled model are trained on the cached vectors of wild20/train (float16, four views) by
Eq. 12; on the images of even index of wild20/val (sorted) each is measured by the loss of Eq. 12, its argmax's top-1,
and, on `--images` of them (seed 0), the Average Drop and Increase of its clamped CAM for softmax's prediction, scored
by the frozen head's p. Those of odd index are left for `docs/results.md`; no set with boxes is used. The rows "softmax"
and "log-odds" are the frozen head's own maps on the same images.

    python benchmarks/tune.py ../shared/data --cache CACHE
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import timing
import torch

from bsoftmax import View, class_map, open_model
from bsoftmax.data.sets import read_splits
from bsoftmax.evaluation import fidelity
from bsoftmax.images.read import read_rgb, square
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training import feature_cache
from bsoftmax.training.fitting import fit, top1
from bsoftmax.training.loop import BranchConfig
from bsoftmax.training.vectors import Vectors

GRID = {
    "lr": (0.02, 0.1, 0.5, 2.0),
    "weight_decay": (0.0, 5e-4, 5e-3),
    "init": ("fresh", "clone"),
    "views": (1, 2, 4),
    "epochs": (10, 30, 100),
}


def configs(every):
    """The default with one or two things changed; with `every`, the whole grid."""
    if every:
        return [BranchConfig(**dict(zip(GRID, values))) for values in itertools.product(*GRID.values())]
    base = BranchConfig()
    lone = [replace(base, **{name: value}) for name, values in GRID.items() for value in values]
    pairs = [replace(base, lr=lr, weight_decay=wd) for lr in GRID["lr"] for wd in GRID["weight_decay"]]
    return list(dict.fromkeys([base, *lone, *pairs]))


def views_of(model, images, count):
    """Views and pixels of a seeded sample, 50 images at a time."""
    index = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values.tolist()
    size = model.spec.preprocessing.size
    for start in range(0, len(index), 50):
        rows = [torch.from_numpy(square(read_rgb(images.paths[n]), size).copy()) for n in index[start : start + 50]]
        pixels = torch.stack(rows).permute(0, 3, 1, 2)
        yield View(model, model.normalise(pixels)), pixels / 255


def drops(seen, source, classifier=None, clamp=None):
    """Average Drop and Increase, in percent, of a source's CAM."""
    dropped, increased = [], []
    for view, pixels in seen:
        logits = view.logits("softmax")
        k = logits.argmax(1)
        S = class_map(view.evidence(source, k, classifier), "cam", clamp)
        masks = fidelity.masks(S, pixels.shape[2:])
        parts = [v.logits("softmax") for _, v in fidelity.masked_views(view.model, pixels, masks, torch.arange(len(S)))]
        p, q = (fidelity.confidence(z, k, "softmax").tolist() for z in (logits, torch.cat(parts)))
        dropped += map(fidelity.average_drop, p, q)
        increased += map(fidelity.increase, p, q)
    return sum(dropped) / len(dropped), sum(increased) / len(increased)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--every", action="store_true", help="the whole grid instead of one or two changes at a time")
    options = parser.parse_args()
    model = open_model("wild20")
    train, val = read_splits(options.data / "wild20")
    half = val.subset(range(0, len(val), 2))
    h = feature_cache.features(model, train, options.cache, max(GRID["views"]))
    held = feature_cache.features(model, val, options.cache)
    even = torch.arange(0, len(val), 2)
    tuned = Vectors.of(held.take(even)[None], held.labels[even])
    vectors = {v: Vectors(h.labels, v, h.width, h.take, f"{h.key}|{v}", h.bad) for v in GRID["views"]}
    seen = list(views_of(model, half, options.images))
    rows = []
    for source, clamp in (("softmax", False), ("softmax", True), ("log-odds", False), ("log-odds", True)):
        ad, ic = drops(seen, source, clamp=clamp)
        rows.append([f"{source}{', clamped' * clamp}", "", "", f"{ad:.1f}", f"{ic:.1f}"])
    for config in configs(options.every):
        torch.manual_seed(config.seed)
        branch = model.add_branch(config.init)
        for _ in fit(branch, vectors[config.views], config):
            pass
        branch.requires_grad_(False)
        with torch.no_grad():
            loss = float(balanced_bce(branch(tuned.take(tuned.good)), tuned.labels))
        ad, ic = drops(seen, "sigmoid")
        name = f"lr {config.lr:g}, wd {config.weight_decay:g}, {config.init}, V={config.views}, {config.epochs} epochs"
        rows.append([name, f"{loss:.4f}", f"{top1(branch, tuned):.2f}", f"{ad:.1f}", f"{ic:.1f}"])
        print(rows[-1], flush=True)
    print(timing.table(["branch", "loss", "top-1 %", "Average Drop %", "Increase %"], rows))
    print(timing.machine(torch.get_num_threads()))


if __name__ == "__main__":
    main()
