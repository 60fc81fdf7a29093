"""The table of the Evaluate tab from results made by hand: intervals, verdicts, identical_groups, pictures."""

from results_made import contrast

from bsoftmax.reports.topics import identical_groups
from demo.evaluate.results import Evaluation
from demo.evaluate.table import comparison_table, verdict


def column(method, kind, value, apart=None, name="average_drop", look=None):
    source, clamp = kind
    look = look or f"{method}/{source}/{clamp}"
    found = {"value": value, "low": value - 1, "high": value + 1, "n": 4}
    differs = {} if apart is None else {name: dict(zip(("low", "value", "high"), apart))}
    return {
        "key": f"{method}/{source}/{'on' if clamp else 'off'}", "method": method, "source": source, "clamp": clamp,
        "metrics": {name: found}, "difference": differs, "shares": {}, "gallery": {}, "curves": {}, "look": look,
        "place": look, "same_as": None, "baseline": None if apart is None else f"{method}/softmax/off",
    }  # fmt: skip


def results(*columns, n=60, **more):
    said = {"data": {"source": "birds"}, "model": {"name": "m"}, "protocol": {}}
    said |= {"n": n, "asked": n, "complete": True, "unreadable": [], "notes": []}
    return {**said, "columns": list(columns), **more}


BASE, OURS, ODDS, CLAMP = ("softmax", False), ("sigmoid", True), ("log-odds", False), ("softmax", True)


def test_the_verdict_is_computed_from_the_intervals():
    none = results(column("cam", BASE, 40), column("cam", OURS, 38, (-5, -2, 1)), column("cam", ODDS, 39, (-3, -1, 1)))
    assert verdict(none, "average_drop") == (
        "On these 60 images no source and no clamp differs in Average Drop from softmax unclamped beyond its interval; "
        "log-odds unclamped does as well as the branch clamped."
    )
    some = results(
        column("cam", BASE, 40), column("cam", OURS, 20, (-25, -20, -15)), column("cam", ODDS, 39, (-3, -1, 1)),
        column("cam", CLAMP, 21, (-24, -19, -14)), column("gradcam++", BASE, 40),
        column("gradcam++", OURS, 30, (-12, -10, -8)), column("gradcam++", ODDS, 50, (8, 10, 12)),
        column("gradcam++", CLAMP, 29, (-13, -11, -9)),
    )  # fmt: skip
    assert verdict(some, "average_drop") == (
        "On these 60 images, by Average Drop and against softmax unclamped: the branch clamped and softmax clamped are "
        "better under every method; log-odds unclamped is worse under 1 of 2 methods; softmax clamped does as well as "
        "the branch clamped."
    )
    alone = results(column("cam", OURS, 20), n=1)
    assert verdict(alone, "average_drop").startswith("On this image Average Drop stands alone")


def test_the_page_begins_with_the_verdict_and_small_tables():
    step = "the paper's step: branch clamped, softmax not"
    made = results(
        column("cam", BASE, 40), column("cam", OURS, 20, (-25, -20, -15)),
        best={"cam/sigmoid/on": ["average_drop"]},
        contrasts=[contrast("cam", step, average_drop=(-25, -20, -15))],
    )  # fmt: skip
    first, *rest = Evaluation(made).summary()
    assert first["tone"] == "strong"
    assert first["text"].startswith(
        "Fidelity. The paper's step (branch clamped, softmax not): better. Average Drop falls"
    )
    (table,) = (block for block in rest if block["kind"] == "table")
    assert table["head"] == ["method", "Softmax head", "Sigmoid branch, clamped"]
    assert table["rows"] == [
        ["Average Drop ↓"], ["CAM", {"text": "40.0", "best": False}, {"text": "20.0", "best": True}]
    ]  # fmt: skip
    nothing, *_ = Evaluation(results(column("cam", BASE, 40))).summary()
    assert nothing["text"].startswith("Nothing was measured that could be compared")


def test_methods_that_are_one_map_stand_together_and_so_do_clamps():
    same = [column(m, k, 40, None if k == BASE else (-1, 0, 1), look=f"cam/{k}") for m in ("cam", "gradcam") for k in
            (BASE, OURS)]  # fmt: skip
    layer = [column("layercam", BASE, 30, look="l"), column("layercam", CLAMP, 30, (0, 0, 0), look="l"),
             column("eigencam", BASE, 50)]  # fmt: skip
    found = results(*same, *layer)
    methods = [methods for methods, _ in identical_groups(found["columns"])]
    assert methods == [["cam", "gradcam"], ["layercam"], ["eigencam"]]
    rows = comparison_table(found, "average_drop")["rows"]
    assert [row[0] for row in rows] == [
        "CAM = Grad-CAM", "Softmax head, unclamped", "Sigmoid branch, clamped", "Layer-CAM",
        "Softmax head, clamped or not", "Eigen-CAM", "Eigen-CAM, which knows no class",
    ]  # fmt: skip
    assert rows[1][1:] == ["40.0 [39.0, 41.0]", "", "the baseline"]
    assert rows[2][2] == {"text": "+0.0 [-1.0, +1.0]", "span": [0.0, 0.5, 1.0]}


def test_only_pictures_that_changed_are_shown_as_better_or_worse():
    made = column("cam", OURS, 50, (0, 0, 0), "gt_loc")
    row = lambda name, here, there: {"image": name, "value": here, "baseline": there}
    rows = [row("a", 100.0, 0.0), row("b", 100.0, 100.0), row("c", 0.0, 100.0)]
    made["gallery"] = {"gt_loc": {"best": rows, "worst": rows[::-1]}}
    found = Evaluation(results(column("cam", BASE, 50, name="gt_loc"), made))
    assert found.pictures("gt_loc", "cam/sigmoid/on") == {
        "best": [("a", "a: right here, wrong with softmax")], "worst": [("c", "c: wrong here, right with softmax")]
    }  # fmt: skip
    assert found.groups() == ["Localisation"]
