"""Localisation scoring compared with an evaluator that finds all contours again at each of 1001 thresholds.

Protocol: `--maps` maps of 14 x 14 normal noise under a Gaussian of sigma 1, bicubic to 224 x 224, min-max, 256 levels;
two true boxes each. Ours: one sweep of a map, from which the largest contour's IoU (MaxBoxAcc, GT-known Loc) and all
contours' (MaxBoxAccV2) follow. Plain: OpenCV's threshold, contours and boxes at 0, 0.001, ..., 1, as the benchmark's
paper describes; "one metric" runs it once for all contours, "both" once for each, as its code must be run. Every IoU of
every threshold must be equal to the bit, or the script fails. One thread, processor time, interleaved cases.

    python benchmarks/localization.py
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import timing
from history import record

from bsoftmax.evaluation import localization

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import reference_metrics as plain

TARGET = 4
THRESHOLDS = [i * 0.001 for i in range(1001)]
TRUTH = np.array([[40, 30, 150, 160], [100, 90, 210, 200]])
RULE = localization.protocol("official")


def make(n):
    noise = np.random.default_rng(n).normal(size=(14, 14))
    return localization.heat(cv2.GaussianBlur(noise, (0, 0), 1.0))


def ours(levels, modes):
    found = localization.sweep(levels)
    at = localization.at_thresholds(found.top, RULE)
    return [localization.curve(found, TRUTH, every)[at].tolist() for every in modes]


def theirs(levels, modes):
    return [plain.plain_ious(levels, TRUTH.tolist(), THRESHOLDS, every) for every in modes]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    maps = [make(n) for n in range(options.maps)]
    if any(ours(levels, (False, True)) != theirs(levels, (False, True)) for levels in maps):
        raise SystemExit("The results differ.")
    cases = {
        f"{who}, {name}": lambda run=run, modes=modes: [run(levels, modes) for levels in maps]
        for name, modes in (("one metric", (True,)), ("both", (False, True)))
        for who, run in (("ours", ours), ("plain", theirs))
    }
    times = timing.interleaved(cases, options.rounds, clock=time.process_time)
    rows, ratios = [], {}
    for name in ("one metric", "both"):
        faster = timing.ratio(times, f"plain, {name}", f"ours, {name}")
        ratios[f"box metrics, {name}, ours / plain"] = 1 / faster
        per_map = [f"{timing.ms(times, f'{who}, {name}') / len(maps):.1f}" for who in ("ours", "plain")]
        rows.append((name, *per_map, f"{faster:.1f}", timing.verdict(faster, TARGET, least=True)))
    print(timing.machine(1))
    print(timing.table(("", "ours, ms a map", "plain, ms a map", "times as fast", "target"), rows))
    record("localization", ratios)


if __name__ == "__main__":
    main()
