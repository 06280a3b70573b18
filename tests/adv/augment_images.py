"""What the tests of augmentation share."""

from __future__ import annotations

import torch
from testing import seeded


def pictures() -> torch.Tensor:
    return torch.rand(64, 3, 32, 32, generator=seeded(99))
