"""Random images to augment."""

from __future__ import annotations

import torch
from reproducibility import seeded_generator


def random_images() -> torch.Tensor:
    """Return 64 random images [64, 3, 32, 32] in [0, 1]; the same at each call."""
    return torch.rand(64, 3, 32, 32, generator=seeded_generator(99))
