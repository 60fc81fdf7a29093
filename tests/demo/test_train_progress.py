"""A training's events and report become a bar, curves, sentences and tables."""

import itertools
import json

from demo.train.progress import Progress
from demo.train.results import Results


def events(classes=("a", "b", "c", "d", "e")):
    yield {"event": "stage", "stage": "features", "title": "Features"}
    yield {"event": "data", "train": 8, "val": 2, "classes": list(classes), "skipped": [], "split": "", "layout": ""}
    yield {"event": "progress", "stage": "features", "done": 3, "total": 12}
    for stage, epoch in itertools.product(("softmax", "branch"), (1, 2)):
        yield {
            "event": "epoch", "stage": stage, "epoch": epoch, "epochs": 2, "loss": 1 / epoch, "accuracy": 1.0,
            "val_accuracy": 10.0 * epoch if stage == "softmax" else None, "recalled": [50, None, 30, 20, 12],
        }  # fmt: skip


def test_events_become_a_bar_and_curves():
    progress = Progress()
    told = list(events())
    assert progress.update(told[:3]) is False
    (now, bar) = progress.blocks()
    assert (now["text"], bar["done"], bar["total"]) == ("Features …", 3, 12)
    assert progress.update(told[3:]) is True
    assert progress.losses().values.tolist() == [
        [1, 1.0, "softmax"], [2, 0.5, "softmax"], [1, 1.0, "sigmoid"], [2, 0.5, "sigmoid"],
    ]  # fmt: skip
    assert progress.accuracies()["percent"].dropna().tolist() == [10.0, 20.0]
    found = progress.recalled()
    assert found[found["class"] == "mean"]["percent"].tolist() == [28, 28]
    assert found[found["class"] == "worst class"]["percent"].tolist() == [12, 12]


def test_both_lines_are_named_from_the_first_epoch_on():
    """A plot keeps the names it was first drawn with: a head that comes later would have no line."""
    progress = Progress()
    assert len(progress.losses()) == 0
    progress.update(list(events())[:4])
    for lines in (progress.losses(), progress.accuracies()):
        assert set(lines["head"]) == {"softmax", "sigmoid"}
        assert len(lines.dropna()) == 1


def test_epochs_do_not_move_a_bar_that_counts_pictures():
    """Fine-tuning tells of both: the bar would jump back after every epoch."""
    progress = Progress()
    progress.update([{"event": "stage", "stage": "softmax", "title": "Tuning"}])
    progress.update([{"event": "progress", "stage": "softmax", "done": 30, "total": 40}])
    progress.update([next(e for e in events() if e["event"] == "epoch")])
    assert (progress.done, progress.total) == (30, 40)


def test_a_run_that_was_stopped_says_so():
    progress = Progress()
    progress.update(list(events()))
    progress.update([{"event": "done", "seconds": 3, "stopped": True}])
    assert progress.blocks()[0]["text"] == "Done in 3 s. It was stopped early and kept."


def answers(rows, classes=("cat", "dog")):
    keys = ("label", "softmax", "sigmoid", "p", "s")
    images = [{"name": f"{n}", "path": f"{n}", **dict(zip(keys, row))} for n, row in enumerate(rows)]
    return Results({"classes": list(classes), "images": images, "confusion": {}})


ROWS = [(0, 0, 0, 0.9, 0.9), (0, 1, 0, 0.6, 0.7), (1, 1, 0, 0.9, 0.9), (1, 1, 1, 0.8, 0.5)]
VAL = {"images": 4, "softmax_top1": 75.0, "sigmoid_top1": 75.0}


def test_a_report_becomes_sentences_and_tables():
    results = answers(ROWS)
    said, softmax, sigmoid = results.blocks(VAL)
    assert said["text"] == "On 4 validation images the softmax head is right in 75.0 %, the sigmoid branch in 75.0 %."
    assert softmax["rows"] == [["cat", 1, 1], ["dog", 0, 2]]
    assert sigmoid["rows"] == [["cat", 2, 0], ["dog", 1, 1]]
    assert softmax["heat"] == [[0.5, 0.5], [0, 1]]
    assert [image["name"] for image in results.disagreements()] == ["2", "1"]  # the surest first
    assert results.caption(results.images[1]) == "cat: softmax dog, sigmoid cat"
    assert [image["name"] for image in results.examples(3)] == ["0", "2", "1"]  # a cat, a dog, the next cat


def test_the_least_found_classes_come_first():
    results = answers(ROWS)
    results.recalled = {"softmax": [50.0, 100.0], "sigmoid": [100.0, 49.6]}
    _, found, *_ = results.blocks(VAL)
    assert found["head"] == ["class", "images", "softmax right, %", "sigmoid above 0.5, %"]
    assert found["rows"] == [["dog", 2, 100, 50], ["cat", 2, 50, 100]]
    results.recalled = {"softmax": [None, 100.0]}
    assert results.blocks(VAL)[1]["rows"] == [["dog", 2, 100]]  # a class without images has no share


def test_long_class_names_head_their_columns_by_number():
    _, softmax, _ = answers(ROWS, ("black-footed albatross", "dog")).blocks(VAL)
    assert softmax["head"] == ["class", "1", "2"]
    assert [row[0] for row in softmax["rows"]] == ["1. black-footed albatross", "2. dog"]


def test_many_classes_become_pairs_and_no_branch_is_said():
    results = answers([(0, 5, 0, 1, 1), (0, 5, 5, 1, 1), (7, 6, 7, 1, 1)], [f"c{n}" for n in range(30)])
    (pairs,) = results.blocks(VAL)[1:]
    assert pairs["rows"] == [["c0", "c5", 2, 1], ["c7", "c6", 1, 0]]
    alone = answers([(0, 1, None, 0.5, None)])
    assert alone.disagreements() == []
    said, _ = alone.blocks({"images": 1, "softmax_top1": 0.0, "sigmoid_top1": None})
    assert "no branch" in said["text"]
    json.dumps(pairs)
