"""What is counted on a validation set, and which of its images are taken."""

import torch

from bsoftmax.training.validation import confusion, evenly


def test_evenly_takes_the_ends_and_no_number_twice():
    assert evenly(torch.tensor([3, 5, 8, 9, 11]), 3).tolist() == [3, 8, 11]
    assert evenly(torch.tensor([3, 5]), 32).tolist() == [3, 5]


def test_confusion_counts_rows_as_truth():
    assert confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0]), 2) == [[0, 2], [1, 0]]
