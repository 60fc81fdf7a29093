"""What a sweep of `bsoftmax gauge` costs against one evaluation of the same photographs.

Protocol: CPU, one process and one thread, the bundled model, the first images of wild20-boxes in proportion to their
classes; both with the options they have by default (the evaluation: every quick method, source and clamp; the sweep:
CAM, its default directions and sizes), from opening the model to the tables, without records of an earlier run. Cases
are interleaved (see timing.py). Once for the metrics of boxes alone, once with Average Drop, which takes a pass of the
trunk for every mask.

    python benchmarks/gauge.py [../shared/data] [--rounds 3] [--images 32]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from timing import interleaved, machine, ms, ratio, table, verdict

from bsoftmax.evaluation.plan import EvalRun
from bsoftmax.evaluation.run import evaluate
from bsoftmax.gauge import report
from bsoftmax.gauge.sweep import GaugeRun, sweep
from bsoftmax.reports import write_tables

METRICS = {"boxes": ("localization",), "boxes and Average Drop": ("localization", "fidelity")}


def evaluation(data: str, images: int, metrics: tuple[str, ...]) -> None:
    """One evaluation, into a folder of its own."""
    with tempfile.TemporaryDirectory() as out:
        evaluate(EvalRun(data, Path(out), metrics=metrics, limit=images), workers=1, report=write_tables)


def gauged(data: str, images: int, metrics: tuple[str, ...]) -> None:
    """One sweep, into a folder of its own."""
    with tempfile.TemporaryDirectory() as out:
        report.write(sweep(GaugeRun(data, Path(out), metrics=metrics, limit=images)), Path(out))


def cases(data: str, images: int) -> dict[str, Callable[[], object]]:
    """Both, for both choices of metrics."""
    made = {"evaluation": evaluation, "sweep": gauged}
    return {f"{name}, {what}": partial(run, data, images, metrics)
            for what, metrics in METRICS.items() for name, run in made.items()}  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=32)
    options = parser.parse_args()
    times = interleaved(cases(str(options.data / "wild20-boxes"), options.images), options.rounds, warm=0)
    rows = []
    for what in METRICS:
        one, many = f"evaluation, {what}", f"sweep, {what}"
        cost = ratio(times, many, one)
        rows.append([what, f"{ms(times, one) / 1000:.1f}", f"{ms(times, many) / 1000:.1f}", f"{cost:.2f}",
                     verdict(cost, 2)])  # fmt: skip
    print(table(["metrics", "evaluation (s)", "sweep (s)", "ratio", "at most"], rows))
    print(f"{options.images} images, {machine(1)}")


if __name__ == "__main__":
    main()
