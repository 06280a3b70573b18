"""Accuracy where classes differ in size: the mean over the classes of the accuracy in each."""

from __future__ import annotations

from torch import Tensor

IMBALANCED_FROM = 2  # Times the size of the smallest class that the largest one has.


def balanced_accuracy(correct: Tensor, labels: Tensor) -> float:
    """Return the mean over the classes of the share of right images, in [0, 1].

    A net that only knows the largest class has 1 / classes. Classes without an image do not count.

    Args:
      correct: [n] booleans.
      labels: [n] classes, on the same device.

    Raises:
      ValueError: there is no image.
    """
    if not len(labels):
        raise ValueError("there is no image to take the accuracy of")
    counts = labels.bincount().double()
    right = labels.bincount(weights=correct.double(), minlength=len(counts))
    present = counts > 0
    return float((right[present] / counts[present]).mean())


def is_imbalanced(labels: Tensor) -> bool:
    """Return whether the largest class of labels [n] has twice the images of the smallest."""
    counts = labels.bincount()
    present = counts[counts > 0]
    return bool(len(present)) and int(present.max()) >= IMBALANCED_FROM * int(present.min())
