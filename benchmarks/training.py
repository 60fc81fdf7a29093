"""What training a branch costs, in passes of its trunk over the data set, and against a loop without cached features.

Protocol: CPU, 2 threads, the bundled trunk at 224 px in its fast precision (bfloat16 where the processor has it), fresh
branch, 10 epochs, batch 64, image and mirror as the two views; cub10/train (test as the validation set) and the first
images of every class of wild20. Cases are interleaved (see timing.py). "Ours" is everything from files to a trained
branch: decoding, both views through the trunk, shards written, 10 epochs. "Two passes" is the trunk alone on the image
and on the mirror of every picture, already decoded and in memory. "Plain" decodes as ours does and runs the trunk in
every epoch on the view of the epoch; its order, views and start are those of ours, so that both should end alike.
Memory: peak resident size of child processes that do "ours" for 10 and for 40 epochs.

    python benchmarks/training.py [../shared/data] [--rounds 2] [--threads 2] [--images 10]
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from history import record
from timing import interleaved, machine, ms, ratio, table, verdict
from torch import Tensor

from bsoftmax import DualBranch, open_model
from bsoftmax.data.loader import batches, decoded
from bsoftmax.data.sets import ImageSet, read_splits
from bsoftmax.models.losses import balanced_bce
from bsoftmax.training.feature_cache import fast_precision, features
from bsoftmax.training.fitting import fit, top1
from bsoftmax.training.loop import BranchConfig, set_lr, sgd
from bsoftmax.training.vectors import Vectors

EPOCHS, BATCH, VIEWS = 10, 64, 2


def cub10(folder: Path) -> tuple[ImageSet, ImageSet]:
    classes = tuple((folder / "classes.txt").read_text().split())
    sets = []
    for split in ("train", "test"):
        with open(folder / split / "class_labels.txt", newline="") as file:
            rows = list(csv.reader(file))
        paths = tuple(folder / "images" / path for path, _ in rows)
        sets.append(ImageSet(folder / "images", paths, tuple(int(label) for _, label in rows), classes))
    return sets[0], sets[1]


def first(images: ImageSet, each: int) -> ImageSet:
    labels = np.array(images.labels)
    return images.subset([n for k in range(len(images.classes)) for n in np.flatnonzero(labels == k)[:each].tolist()])


def wild20(folder: Path, each: int) -> tuple[ImageSet, ImageSet]:
    train, val = read_splits(folder)
    return first(train, each), first(val, each)


def config(epochs: int = EPOCHS) -> BranchConfig:
    return BranchConfig(views=VIEWS, epochs=epochs, batch=BATCH)


def model_for(images: ImageSet) -> DualBranch:
    torch.manual_seed(0)
    model = open_model("wild20").for_classes(images.classes)
    model.add_branch()
    return model


def ours(train: ImageSet, epochs: int = EPOCHS) -> DualBranch:
    model = model_for(train)
    with tempfile.TemporaryDirectory() as folder:
        for _ in fit(model.sigmoid, features(model, train, Path(folder), VIEWS, batch=BATCH), config(epochs)):
            pass
    return model


@torch.inference_mode()
def trunk(model: DualBranch, pixels: Tensor) -> Tensor:
    x = model.normalise(pixels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", fast_precision(model.device), enabled=fast_precision(model.device) is not None):
        F, tokens = model.trunk(x)
    return model.neck(F.float(), tokens)


def plain(train: ImageSet) -> DualBranch:
    model, rules, labels = model_for(train), config(), torch.tensor(train.labels)
    branch, size = model.sigmoid.train(), model.spec.preprocessing.size
    optimizer, steps = sgd([{"params": list(branch.parameters())}], rules), -(-len(train) // BATCH)
    for epoch in range(EPOCHS):
        rng = np.random.default_rng([rules.seed, epoch])
        order, view = rng.permutation(len(train)), torch.from_numpy(rng.integers(VIEWS, size=len(train)))
        spans = list(batches(len(train), BATCH))
        for step, (pixels, _) in enumerate(decoded(train, [order[span] for span in spans], size)):
            set_lr(optimizer, rules, (epoch * steps + step) / (EPOCHS * steps))
            mirrored = view[spans[step]].bool()[:, None, None, None]
            h = trunk(model, torch.where(mirrored, pixels.flip(3), pixels)).clone()
            loss = balanced_bce(branch(h), labels[order[spans[step]]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def passes(model: DualBranch, pixels: Tensor) -> Callable[[], None]:
    def run() -> None:
        for seen in (pixels, pixels.flip(3)):
            for span in batches(len(pixels), BATCH):
                trunk(model, seen[span])

    return run


def kept(made: dict[str, DualBranch], name: str, train: Callable[[], DualBranch]) -> Callable[[], None]:
    return lambda: made.update({name: train()})


def measure(name: str, train: ImageSet, val: ImageSet, rounds: int) -> None:
    model, made = model_for(train), {}
    ((pixels, _),) = decoded(train, [range(len(train))], model.spec.preprocessing.size)
    trunk(model, pixels[:BATCH])
    cases = {
        "ours": kept(made, "ours", lambda: ours(train)),
        "passes": passes(model, pixels),
        "plain": kept(made, "plain", lambda: plain(train)),
    }
    times = interleaved(cases, rounds, warm=0)
    with tempfile.TemporaryDirectory() as folder:
        seen: Vectors = features(model, val, Path(folder))
        scores = {case: top1(trained.sigmoid, seen) for case, trained in made.items()}
    rows = [
        [f"ours: {EPOCHS} epochs, {VIEWS} views, from files", f"{ms(times, 'ours') / 1000:.1f} s", ""],
        ["in times of two trunk passes", f"{ratio(times, 'ours', 'passes'):.2f}",
         verdict(ratio(times, "ours", "passes"), 1.15)],
        ["the plain loop, in times of ours", f"{ratio(times, 'plain', 'ours'):.2f}",
         verdict(ratio(times, "plain", "ours"), 4, least=True)],
        ["validation top-1, ours / plain", f"{scores['ours']:.2f} / {scores['plain']:.2f}",
         verdict(abs(scores["ours"] - scores["plain"]), 1)],
    ]  # fmt: skip
    print(f"\n{table([f'{name}: {len(train)} images', 'measured', 'target'], rows)}")
    ratios = {
        "training / trunk passes": ratio(times, "ours", "passes"),
        "ours / plain loop": ratio(times, "ours", "plain"),
    }
    record(f"training, {name}, {len(train)} images", ratios)


def peak(data: Path, epochs: int) -> float:
    command = [sys.executable, __file__, str(data), "--child", str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=10, help="of every class of wild20")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        ours(cub10(options.data / "cub10")[0], options.child)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    print(machine(options.threads))
    measure("cub10", *cub10(options.data / "cub10"), options.rounds)
    measure("wild20", *wild20(options.data / "wild20", options.images), options.rounds)
    short, long = (peak(options.data, epochs) for epochs in (EPOCHS, 4 * EPOCHS))
    rows = [
        [f"peak memory, {EPOCHS} / {4 * EPOCHS} epochs", f"{short:.0f} / {long:.0f} MB", verdict(long / short, 1.05)]
    ]
    print(f"\n{table(['cub10', 'measured', 'target of the ratio'], rows)}")


if __name__ == "__main__":
    main()
