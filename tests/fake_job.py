"""Stands in for `python -m bsoftmax`: says what a training says, quickly, and fails in the ways a training can.

Called as the real one is. FAKE_JOB in the environment chooses the end: done, error, crash, kill, silent or slow.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def option(name):
    """What follows an option, or stands behind its equals sign; empty where it was not given."""
    joined = [word.split("=", 1)[1] for word in sys.argv if word.startswith(f"{name}=")]
    return joined[0] if joined else sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def say(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


def images():
    """The validation images of the data the page has unpacked: every fifth, by its class folder or its own name."""
    from bsoftmax.data.layouts import read_data, train_val

    data = read_data(sys.argv[2], Path(option("--cache")) / "data")
    return train_val(data, float(option("--share")) if "--share" in sys.argv else 0.2, 0)


def finish(train, val, stopped):
    from toys import small_model

    out = Path(option("--out"))
    model = small_model(train.classes)
    model.spec.training["command"] = ["bsoftmax", "train", sys.argv[2], "--out", out.name]
    model.save(out)
    out.with_suffix(".md").write_text("# A model card\n")
    C = len(train.classes)
    rows = [
        {"name": val.name(n), "path": str(val.paths[n]), "label": k, "softmax": k, "sigmoid": (k + (n % 4 == 0)) % C,
         "p": 0.9, "s": 0.8}
        for n, k in enumerate(val.labels)
    ]  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps({"classes": train.classes, "images": rows, "confusion": {}}))
    metrics = {"val": {"images": len(val), "softmax_top1": 100.0, "sigmoid_top1": 75.0}}
    say(
        "done", checkpoint=str(out), card=str(out.with_suffix(".md")), report=str(out.with_suffix(".json")),
        metrics=metrics, seconds=1.5, stopped=stopped,
    )  # fmt: skip


def main():
    end, stop = os.environ.get("FAKE_JOB", "done"), Path(option("--stop-file"))
    assert sys.argv[1] == "train"
    if end == "silent":
        time.sleep(60)
    say("stage", stage="data", title="Reading the data set")
    if end == "error":
        say("error", message="There is no trunk 'unicorn'; nearest: none.")
        sys.exit(2)
    train, val, split = images()
    say("data", train=len(train), val=len(val), classes=train.classes, skipped=[], split=split, layout="folders")
    say("size", bytes=12345)
    say("stage", stage="features", title="Features of the frozen trunk")
    for i in range(1, 6):
        say("progress", stage="features", done=i, total=5)
        time.sleep(0.05)
    if end == "crash":
        print("a library's last words", file=sys.stderr)
        sys.exit(7)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print("not an event")
    for stage in ("softmax", "branch"):
        say("stage", stage=stage, title=f"Training the {stage}")
        epochs = 2000 if end == "slow" else 5
        for e in range(1, epochs + 1):
            values = {"loss": 1 / e, "accuracy": 90.0, "val_accuracy": 100 - 50 / e, "seconds": 0.1 * e}
            say("epoch", stage=stage, epoch=e, epochs=epochs, recalled=[60.0 + k for k in range(len(train.classes))],
                **values)  # fmt: skip
            if stop.exists():
                return finish(train, val, True)
            time.sleep(0.05 if end == "slow" else 0.02)
    return finish(train, val, False)


if __name__ == "__main__":
    main()
