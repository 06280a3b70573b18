"""A small net as a project that does not know `adv` would write it, for `battery_speed.py`."""

import torch
import torch.nn.functional as F
from torch import nn


class PlainNet(nn.Module):
    """Two 3x3 convolutions of 16 and 32 filters with ReLU and pooling, and a linear layer."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 8 * 8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [n, num_classes] of images [n, 3, 32, 32]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(x.flatten(1))
