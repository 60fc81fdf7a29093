"""Stands in for `python -m bsoftmax evaluate` and `gauge`: says what an evaluation says, quickly, and fails as one can.

Called as the real one is; any other command goes to the stand-in of a training. FAKE_JOB chooses the end: done, error,
crash or slow. Half-way it waits for the file that FAKE_GATE names, so that a test can look at what is shown meanwhile.
"""

import json
import os
import sys
import time
from pathlib import Path

import fake_job
from fake_job import option, say

METHODS, SOURCES = ("cam", "gradcam"), ("softmax", "sigmoid", "log-odds", "centred")
KINDS = [(source, clamp) for source in SOURCES for clamp in (False, True)]
PIXEL = (  # of a PNG
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f00010101"
    "00b138f6140000000049454e44ae426082"
)


def images():
    """Names and classes of what would be measured."""
    from bsoftmax.data.layouts import read_data, train_val

    data = read_data(sys.argv[2], Path(option("--cache")) / "data")
    split = option("--split") if "--split" in sys.argv else "all"
    if "--share" in sys.argv:
        return train_val(data, float(option("--share")), int(option("--seed")))[1]
    return data.splits[split]


def cell(value, reach=2.0, n=4):
    return {"value": value, "low": value - reach, "high": value + reach, "n": n}


def column(method, source, clamp, names):
    """Average drop gets better where positive weights alone are kept; the box accuracy never differs."""
    base = (source, clamp) == ("softmax", False)
    shift = -10.0 if clamp else 0.0
    metrics = {"average_drop": cell(40 + shift), "gt_loc": cell(50.0), "negative": cell(0.0 if clamp else 12.0)}
    row = {"image": names[0], "value": 30.0, "baseline": 40.0}
    worse = {"image": names[-1], "value": 45.0, "baseline": 40.0}
    look = f"cam/{source}/{'on' if clamp else 'off'}"
    return {
        "key": f"{method}/{source}/{'on' if clamp else 'off'}", "method": method, "source": source, "clamp": clamp,
        "look": look, "place": f"{look}:bicubic", "same_as": None if method == "cam" else look,
        "metrics": metrics, "curves": {"box_accuracy": {"any, IoU .5": [50.0] * 256}},
        "baseline": None if base else f"{method}/softmax/off",
        "difference": {} if base else {"average_drop": cell(shift), "gt_loc": cell(0.0), "negative": cell(shift)},
        "shares": {} if base else {"average_drop": {"better": 75.0, "worse": 25.0, "equal": 0.0}},
        "gallery": {} if base else {"average_drop": {"best": [row], "worst": [worse]}},
    }  # fmt: skip


def finish(found, stopped):
    out = Path(option("--out"))
    out.mkdir(parents=True, exist_ok=True)
    names = [found.name(n) for n in range(len(found))]
    n = len(names) - stopped
    made = {
        "format": "bsoftmax-results/1", "n": n, "asked": len(names), "complete": not stopped, "unreadable": [],
        "notes": ["A note."], "seed": 0, "rounds": 10, "data": {"source": option("--called") or sys.argv[2]},
        "model": {"name": option("--model") or "wild20", "trunk": "t"},
        "protocol": {"baseline": "the same method"}, "versions": {}, "command": ["bsoftmax", *sys.argv[1:3]],
        "columns": [column(m, *kind, names) for m in METHODS for kind in KINDS],
        "contrasts": [{"method": "cam", "question": "the paper's step: branch clamped, softmax not",
                       "of": ["cam/sigmoid/on", "cam/softmax/off"],
                       "difference": {"average_drop": cell(-10.0), "gt_loc": cell(0.0)}}],
        "best": {"cam/sigmoid/on": ["average_drop"]},
    }  # fmt: skip
    files = {
        "results.json": json.dumps(made),
        "results.md": "# Results\n",
        "results.csv": "column\n",
        "table1.tex": "%",
    }
    for name, words in files.items():
        (out / name).write_text(words)
    (out / "forest.png").write_bytes(bytes.fromhex(PIXEL))
    paths = [str(out / name) for name in (*files, "forest.png")]
    say("done", results=str(out / "results.json"), files=paths, n=n, unreadable=[], stopped=bool(stopped),
        complete=not stopped, seconds=1.5, notes=made["notes"])  # fmt: skip


def sweep():
    out, n = Path(option("--out")), int(option("--limit"))
    out.mkdir(parents=True, exist_ok=True)
    found = {
        "head": {"share": 0.02}, "n": n, "asked": n, "method": "cam", "complete": True, "notes": [], "crossings": [],
        "directions": [], "sizes": [0, 4], "points": [{"metrics": {"gt_loc": cell(50.0)}}], "checks": {"max_dp": 1e-9},
    }  # fmt: skip
    (out / "gauge.json").write_text(json.dumps(found))
    (out / "gauge.png").write_bytes(bytes.fromhex(PIXEL))
    files = [str(out / f"gauge.{end}") for end in ("json", "png")]
    say("done", results=files[0], files=files, n=n, stopped=False, complete=True, seconds=1.5, notes=[])


def main():
    if sys.argv[1] == "gauge":
        return sweep()
    if sys.argv[1] != "evaluate":
        return fake_job.main()
    end, stop = os.environ.get("FAKE_JOB", "done"), Path(option("--stop-file"))
    if end == "error":
        say("error", message="The data's classes are not those of 'wild20': name them alike.")
        sys.exit(2)
    found = images()
    if end == "crash":
        sys.exit(7)
    total = len(found)
    say("data", n=total, split="val", layout="folders", classes=list(found.classes), columns=[], notes=["A note."])
    say("size", passes=100, maps=5)
    for done in range(1, total):
        say("progress", done=done, total=total)
        rows = [{"column": "cam/softmax/off", "metrics": {"average_drop": 40.0 + done}}]
        say("table", n=done, total=total, rows=rows)
        if done == total // 2:
            gate, until = os.environ.get("FAKE_GATE"), time.monotonic() + 100
            while gate and not Path(gate).exists() and time.monotonic() < until:
                time.sleep(0.02)
        for _ in range(40 if end == "slow" else 1):
            time.sleep(0.05)
            if stop.exists():
                return finish(found, 1)
    return finish(found, 0)


if __name__ == "__main__":
    main()
