"""Fixtures of the tests of augmentation."""

from __future__ import annotations

import pytest
import torch
from reproducibility import seeded_generator


@pytest.fixture
def images() -> torch.Tensor:
    """Return 64 random images [64, 3, 32, 32] in [0, 1]; the same in each test."""
    return torch.rand(64, 3, 32, 32, generator=seeded_generator(99))
