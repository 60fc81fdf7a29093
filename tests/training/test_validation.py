"""What is measured on a validation set, and on which of its images."""

import torch

from bsoftmax.cams.breaking import breaking
from bsoftmax.cams.view import View
from bsoftmax.data.sets import read_splits
from bsoftmax.images.read import read_rgb
from bsoftmax.models.dual_branch import DualBranch
from bsoftmax.training.run import train
from bsoftmax.training.validation import confusion, evenly


def test_evenly_takes_the_ends_and_no_number_twice():
    assert evenly(torch.tensor([3, 5, 8, 9, 11]), 3).tolist() == [3, 8, 11]
    assert evenly(torch.tensor([3, 5]), 32).tolist() == [3, 5]


def test_confusion_counts_rows_as_truth():
    assert confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0]), 2) == [[0, 2], [1, 0]]


def test_the_file_says_which_shifts_its_boxes_survive(job, tmp_path, monkeypatch):
    monkeypatch.setattr("bsoftmax.training.run.JUDGED", 32)
    done = train(job)
    model, (_, val) = DualBranch.load(job.out), read_splits(tmp_path / "data")
    views = [View(model, model.preprocess(read_rgb(path))) for path in val.paths]
    found = model.spec.metrics["breaking"]
    assert found == done["metrics"]["breaking"] == breaking(views, "cam")
    assert found["images"] == 12
    assert "flip" in found
    assert f"strongest {found['flip']:.0f} % of positive weights" in job.out.with_suffix(".md").read_text()
