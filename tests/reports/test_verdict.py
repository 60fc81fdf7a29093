"""Results in words: every outcome, number and count from differences made by hand."""

from __future__ import annotations

import pytest
from results_made import FOUND, contrast, measured, stamped

from bsoftmax.reports.verdict import NOTHING, caution, lead, outcome, unfinished, verdicts

STEP, ALONE, ODDS = (
    "the paper's step: branch clamped, softmax not", "the clamp alone: softmax clamped, softmax not",
    "branch against log-odds, both clamped",
)  # fmt: skip


def made(*contrasts, name="gt_loc", **said):
    columns = [measured(method, ("softmax", False), 50.0, name, n=60) for method in ("cam", "gradcam++", "layercam")]
    return stamped({"n": 60, "columns": columns, "contrasts": list(contrasts)} | said)


def test_every_question_is_answered_in_a_sentence_with_its_numbers():
    found = made(
        contrast("cam", STEP, gt_loc=(4.12, 8.23, 11.94)), contrast("gradcam++", STEP, gt_loc=(-1, 0.4, 2)),
        contrast("layercam", STEP, gt_loc=(1, 2, 3)), contrast("cam", ALONE, gt_loc=(-19.75, -14.4, -9.05)),
        contrast("cam", ODDS, gt_loc=(-0.4, 2.06, 4.5), sparsity=(0, 0, 0)),
    )  # fmt: skip
    (said,) = verdicts(found)
    assert said.title == "Places: Do the maps find the object?"
    assert said.headline == (
        "The paper's step (branch clamped, softmax not): better. GT-known Loc rises by 8.2 points [4.1, 11.9] under "
        "CAM; the same under Layer-CAM; no difference under Grad-CAM++."
    )
    assert said.answers == [
        "The clamp alone (softmax clamped, softmax not): worse. GT-known Loc falls by 14.4 points [9.1, 19.8] under "
        "CAM.",
        "Branch against log-odds, both clamped: no difference. GT-known Loc changes by +2.1 points [-0.4, +4.5] under "
        "CAM.",
    ]
    assert said.count == "These are 5 of the 6 comparisons in contrasts.csv; 3 of the 5 are differences."
    assert said.setting.startswith("On 60 images. GT-known Loc is the share of images on which")


def test_where_many_comparisons_are_corrected_for_only_those_that_pass_are_differences():
    found = made(contrast("cam", STEP, gt_loc=(1, 2, 3)), contrast("gradcam++", STEP, gt_loc=(1, 2, 3)))
    for asked, p in zip(found["contrasts"], (0.049, 0.051)):
        asked["difference"]["gt_loc"]["p_holm"] = p
    (said,) = verdicts(found)
    assert said.headline.endswith("better. GT-known Loc rises by 2.0 points [1.0, 3.0] under CAM; no difference under "
                                  "Grad-CAM++.")  # fmt: skip
    (said_again,) = verdicts(made(found["contrasts"][1]))
    assert "changes by +2.0 points [+1.0, +3.0], outside of 0 but not among so many comparisons, under Grad-CAM++" in (
        said_again.headline
    )
    assert said.count.endswith("; 1 of the 2 are differences.")
    assert caution(found) == ""
    families = [{"comparisons": 30, "alone": 5, "together": 2}, {"comparisons": 10, "alone": 1, "together": 1}]
    words = caution(found | {"families": families})
    assert "of the 40 differences here about 2 would leave out 0 by chance" in words
    assert "only of the 3 that also pass Holm's correction" in words


def test_of_a_drop_less_is_better_and_the_class_explained_is_named():
    found = made(contrast("cam", STEP, average_drop=(0.93, 2.18, 3.43)), name="average_drop")
    (said,) = verdicts(found)
    assert said.headline.endswith(": worse. Average Drop rises by 2.2 points [0.9, 3.4] under CAM.")
    assert said.setting.startswith("On 60 images, whose maps explain the class predicted. Average Drop is")
    assert said.setting.endswith("; lower is better.")


@pytest.mark.parametrize(
    ("low", "high", "drop", "negative"),
    [
        (-1, 1, "no difference", "no difference"), (0, 1, "no difference", "no difference"),
        (0.5, 1, "worse", "higher"), (-3, -2, "better", "lower"),
    ],
)  # fmt: skip
def test_an_interval_with_zero_in_it_is_no_difference(low, high, drop, negative):
    cell = {"value": (low + high) / 2, "low": low, "high": high}
    assert (outcome(cell, "average_drop"), outcome(cell, "negative")) == (drop, negative)


def test_what_cannot_be_compared_has_no_verdict():
    assert verdicts(made()) == []
    assert verdicts(made(contrast("cam", STEP, sparsity=(1, 2, 3)))) == []  # of no topic
    assert NOTHING.endswith(".")


def test_the_lead_says_how_many_of_what_and_what_stopped_early():
    words = lead(FOUND)
    assert words.startswith("12 images of ")
    assert FOUND["data"]["source"] in words
    assert "baseline is the same method on the ordinary softmax head, unclamped" in words
    assert unfinished(FOUND) == ""
    assert unfinished(FOUND | {"complete": False}) == "Stopped early: 13 of 13 images were looked at."
