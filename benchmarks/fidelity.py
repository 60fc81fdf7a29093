"""Fidelity of every quick method x source x clamp against the passes through the trunk that cannot be avoided.

Protocol: `--images` drawn pictures through the bundled model, all columns it allows, Average Drop, Increase, Gain,
Coherency, Complexity and ADCC in both scorings. Unavoidable are one pass an image and one a distinct mask (masks that
differ by less than 1e-5 of their range are one): the same number of pictures through the bare trunk, in batches of the
same sizes. "One column at a time" is what it would cost to run the trunk once a column. One thread; time computed,
not waited; rounds take turns, a ratio is the median of the rounds' ratios.

    python benchmarks/fidelity.py
"""

import argparse
import tempfile
import time

import timing
import torch

from bsoftmax.data import layouts
from bsoftmax.data.loader import decoded
from bsoftmax.data.sample import write_sample
from bsoftmax.evaluation import localization, protocol
from bsoftmax.evaluation.column import columns
from bsoftmax.evaluation.measure import Setup, measure_chunk
from bsoftmax.models import zoo

BAR = 1.2


def counted(model, run):
    """How many pictures the trunk saw in each of its passes during a run."""
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
        places = list(range(len(images)))
        pixels, bad = next(decoded(images, [places], model.spec.preprocessing.size))
    chosen = columns(model)
    setup = Setup(model, images, False, chosen, localization.protocol("standard"), {"fidelity": "predicted"})
    batches = counted(model, lambda: measure_chunk(setup, pixels, places, bad))
    passes, x = sum(batches), model.normalise(pixels)
    cases = {
        "ours": lambda: measure_chunk(setup, pixels, places, bad),
        "trunk": lambda: [model.features(x[:n]) for n in batches],
    }
    times = timing.interleaved(cases, options.rounds, clock=time.process_time)
    slower, apart = timing.ratio(times, "ours", "trunk"), len(places) * (1 + len(chosen))
    rows = [
        ("images x columns", f"{len(places)} x {len(chosen)}", ""),
        ("passes, one column at a time", apart, ""),
        ("passes, ours", passes, f"{apart / passes:.1f} times fewer"),
        ("ms an image, bare trunk", f"{timing.ms(times, 'trunk') / len(places):.0f}", ""),
        ("ms an image, everything", f"{timing.ms(times, 'ours') / len(places):.0f}", ""),
        ("everything / bare trunk", f"{slower:.2f}", timing.verdict(slower, BAR)),
    ]
    print(timing.machine(1))
    print(timing.table(("", "", "bar"), rows))


if __name__ == "__main__":
    main()
