"""What the tests of data share: which images a split holds."""

from __future__ import annotations

from collections import Counter

import torch

from adv.data.datasets import Split


def hashes(split: Split) -> Counter:
    return Counter(image.numpy().tobytes() for image in split.images)


def counts(split: Split, classes: int) -> list[int]:
    return torch.bincount(split.labels, minlength=classes).tolist()
