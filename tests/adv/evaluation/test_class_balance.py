"""Accuracy where classes differ in size, by hand."""

import pytest
import torch

from adv.evaluation.class_balance import balanced_accuracy, is_imbalanced


def test_balanced_accuracy_is_the_mean_over_the_classes():
    labels = torch.tensor([0, 0, 0, 0, 2, 2])  # no image of class 1
    correct = torch.tensor([True, True, True, False, True, False])
    assert balanced_accuracy(correct, labels) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert balanced_accuracy(labels == 0, labels) == 0.5


def test_classes_are_imbalanced_from_twice_the_smallest_on():
    assert not is_imbalanced(torch.tensor([0, 0, 0, 1, 1]))
    assert is_imbalanced(torch.tensor([0, 0, 0, 0, 1, 1]))
    with pytest.raises(ValueError, match="no image"):
        balanced_accuracy(torch.tensor([]), torch.tensor([]))
