"""Heads off centre by construction: what their maps lose, and what restores them (docs/gauge.md).

Protocol: the heads of `bsoftmax.gauge.made_heads`, on pooled features of `--train` photographs of wild20/train (class
by class, seed 0) through the bundled ImageNet trunk; CAM of the true class on wild20-boxes (250 photographs, judged
only), the standard protocol of `bsoftmax evaluate`. MaxBoxAccV2, GT-known Loc, and the percent of maps with nothing
above 0, which a ReLU leaves blank; 95 % intervals; arrows: better or worse than the centred rows, unclamped,
by the paired interval. "sigmoid" is the branch that Eq. 12 makes of the head's gauge (a, d, c); the trained branch, all
rows at the optimum of Eq. 12, is the same for every head. A killed run resumes.

    python benchmarks/heads.py ../shared/data --work runs/heads
"""

import argparse
import json
import math
import sys
from pathlib import Path

import timing  # (puts the repository on the path)

from bsoftmax.data.sets import read_class_folders
from bsoftmax.evaluation.plan import EvalRun, subsample
from bsoftmax.gauge import repairs
from bsoftmax.gauge.made_heads import MADE, Samples
from bsoftmax.gauge.survey import head_numbers, map_effect
from bsoftmax.models import zoo
from bsoftmax.models.backbones import Parts
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.training.feature_cache import features
from bsoftmax.utils.files import write_text

PHOTOGRAPHS = 20  # of wild20/val, for the effect of the class-mean row


def progress(title):
    """Progress on stderr."""

    def emit(event):
        print(f"\r{title}: {event['done']}/{event['total']}   ", end="", file=sys.stderr, flush=True)

    return emit


def described(heads, trunk, vectors, classes, photographs):
    """Each head's gauge, biases, accuracy and maps; the trunk runs once a photograph."""
    kept = repairs.KeptTrunk(trunk.trunk, {})
    shared = DualBranch(Parts(kept, trunk.neck, trunk.softmax, trunk.spec.preprocessing, trunk.spec.layer,
                              trunk.classes), trunk.spec)  # fmt: skip
    found = {}
    for key, head in heads.items():
        model = repairs.with_head(shared, head, classes, head)
        found[key] = head_numbers(model) | map_effect(model, photographs) | {"top1": repairs.top1(head, vectors)}
    return found


def measured(key, head, trunk, vectors, classes, run, kept):
    """The localisation of one head's maps."""
    model = repairs.with_head(trunk, head, classes, repairs.gauge_branch(head, vectors))
    return repairs.repair(model, run, progress(key), kept=kept).json()


def trained(trunk, vectors, samples, classes, run, kept):
    """The numbers of the branch whose rows are all trained."""
    branch = repairs.trained_branch(samples.ordinary, vectors)
    model = repairs.with_head(trunk, samples.ordinary, classes, branch)
    found = repairs.repair(model, run, progress("trained"), kept=kept).json()
    return [c for c in found["columns"] if c["source"] == "sigmoid"]


def heads_table(found):
    """The first table of docs/gauge.md."""
    heads = ["head", "whose", "class mean / row", "mean bias", "top-1 (train)", "rank correlation, centred or not",
             "blank maps %", "blank, centred %"]  # fmt: skip
    return timing.table(heads, [
        (MADE[key].title, MADE[key].source, f"{one['share']:.2f}", f"{one['bias_mean']:+.2f}", f"{one['top1']:.1f}",
         f"{one.get('spearman', math.nan):+.2f}", f"{one['blank']:.0f}", f"{one['blank_centred']:.0f}")
        for key, one in found.items()
    ])  # fmt: skip


def repair_tables(found, branch):
    """The tables of docs/gauge.md that need boxes."""
    for name in ("max_box_acc_v2", "gt_loc", "blank"):
        yield repairs.markdown(found, name, {key: made.title for key, made in MADE.items()})
        yield trained_line(branch, name)


def trained_line(branch, name):
    """The trained branch in one sentence."""
    cells = {c["clamp"]: c["metrics"][name] for c in branch}
    said = [f"{'clamped' if clamp else 'not clamped'} {cell['value']:.1f} [{cell['low']:.1f}, {cell['high']:.1f}]"
            for clamp, cell in cells.items()]  # fmt: skip
    return f"The trained branch, the same for every head: {', '.join(said)}."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/heads"))
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--no-boxes", action="store_true", help="only the first table, which takes a minute")
    options = parser.parse_args()
    work, trunk = options.work, zoo.open_model("imagenet")
    train = subsample(read_class_folders(options.data / "wild20" / "train"), options.train, 0)
    vectors = features(trunk, train, work / "cache" / "features")
    samples = Samples.of(vectors, len(train.classes))
    heads = {key: made.make(samples) for key, made in MADE.items()}
    photographs = subsample(read_class_folders(options.data / "wild20" / "val"), PHOTOGRAPHS, 0).paths
    found = {"heads": described(heads, trunk, vectors, train.classes, photographs)}
    parts = [heads_table(found["heads"])]
    if not options.no_boxes:
        run = EvalRun(str(options.data / "wild20-boxes"), work, cache=work / "cache", called="wild20-boxes")
        kept = {}
        found["repairs"] = {k: measured(k, h, trunk, vectors, train.classes, run, kept) for k, h in heads.items()}
        found["trained"] = trained(trunk, vectors, samples, train.classes, run, kept)
        parts += repair_tables(found["repairs"], found["trained"])
    text = "\n\n".join(parts)
    write_text(work / "heads.json", json.dumps(found, indent=1))
    write_text(work / "heads.md", text + "\n")
    print(f"\n{text}\n\n{timing.machine(1)}")


if __name__ == "__main__":
    main()
