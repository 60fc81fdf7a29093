"""Fidelity of every fast method x source x clamp, compared with the trunk passes that cannot be avoided.

Protocol: `--images` drawn pictures through the bundled model, all columns it allows, Average Drop, Increase, Gain,
Coherency, Complexity and ADCC in both scorings. Unavoidable are one pass an image and one a distinct mask (masks that
differ by less than 1e-5 of their range are one): the same number of pictures through the bare trunk, in batches of the
same sizes. "One column at a time" is what it would cost to run the trunk once a column. One thread,
processor time, interleaved cases (see timing.py).

    python benchmarks/fidelity.py
"""

import argparse
import tempfile
import time

import timing
import torch
from history import record

from bsoftmax.data import layouts
from bsoftmax.data.loader import decoded
from bsoftmax.data.sample import write_sample
from bsoftmax.evaluation import localization, protocol
from bsoftmax.evaluation.column import columns
from bsoftmax.evaluation.measure import Setup, measure_chunk
from bsoftmax.models import zoo

TARGET = 1.2


def batch_sizes(model, run):
    """The number of pictures in each trunk pass of a run."""
    seen, forward = [], model.trunk.forward
    model.trunk.forward = lambda x: (seen.append(len(x)), forward(x))[1]
    try:
        run()
    finally:
        del model.trunk.forward
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = protocol.prepare_model(zoo.open_model(), "float32", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        images = layouts.read_data(write_sample(f"{folder}/drawn", 12, 224), folder).splits["train"]
        images = images.subset(range(0, len(images), max(1, len(images) // options.images))[: options.images])
        index = list(range(len(images)))
        pixels, bad = next(decoded(images, [index], model.spec.preprocessing.size))
    chosen = columns(model)
    setup = Setup(model, images, False, chosen, localization.protocol("standard"), {"fidelity": "predicted"})
    batches = batch_sizes(model, lambda: measure_chunk(setup, pixels, index, bad))
    passes, x = sum(batches), model.normalise(pixels)
    cases = {
        "ours": lambda: measure_chunk(setup, pixels, index, bad),
        "trunk": lambda: [model.features(x[:n]) for n in batches],
    }
    times = timing.interleaved(cases, options.rounds, clock=time.process_time)
    slower, separate = timing.ratio(times, "ours", "trunk"), len(index) * (1 + len(chosen))
    rows = [
        ("images x columns", f"{len(index)} x {len(chosen)}", ""),
        ("passes, one column at a time", separate, ""),
        ("passes, ours", passes, f"{separate / passes:.1f} times fewer"),
        ("ms an image, bare trunk", f"{timing.ms(times, 'trunk') / len(index):.0f}", ""),
        ("ms an image, everything", f"{timing.ms(times, 'ours') / len(index):.0f}", ""),
        ("everything / bare trunk", f"{slower:.2f}", timing.verdict(slower, TARGET)),
    ]
    print(timing.machine(1))
    print(timing.table(("", "", "target"), rows))
    record(f"fidelity, {len(index)} images, {len(chosen)} columns", {"everything / bare trunk": slower})


if __name__ == "__main__":
    main()
