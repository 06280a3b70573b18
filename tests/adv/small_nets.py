"""Small nets: one with BatchNorm and dropout, and wrappers that watch or change how a net runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from reproducibility import seeded_generator
from torch import nn

from adv import Net
from adv.models import Normalize
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape

SHAPE = (3, 8, 8)


@dataclass(frozen=True)
class BatchNormNet(Net):
    """A small convolutional net with BatchNorm, and dropout if wanted.

    Its convolutions have no bias: in front of a BatchNorm a bias has no gradient but rounding,
    which AdamW divides by its own size and so makes as large as any other step.
    """

    width: int = 6
    dropout: float = 0.0

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        wide = 2 * self.width
        return nn.Sequential(
            Normalize(),
            *(nn.Conv2d(3, self.width, 5, stride=2, bias=False), nn.BatchNorm2d(self.width)),
            *(nn.ReLU(), nn.Conv2d(self.width, wide, 3, stride=2, bias=False)),
            *(nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Flatten(), Dropout(self.dropout), nn.Linear(36 * wide, classes)),
        )


def self_labelled_problem(n: int = 64, shape: tuple[int, ...] = SHAPE):
    """Return a random conv net, random images and the net's own predictions as labels.

    The weights are large, so that the loss is far from linear; every image is classified
    correctly before an attack.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = 16 * (shape[1] - 2) * (shape[2] - 2)
        net = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3), nn.GELU(), nn.Flatten(), nn.Linear(inner, 5)
        )
        for weight in net.parameters():
            weight.data *= 6
    x = torch.rand(n, *shape, generator=seeded_generator(n))
    return net.eval(), x, net(x).argmax(1)


class CountingNet(nn.Module):
    """Count the images that pass through a net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x):
        self.seen += len(x)
        return self.net(x)


class RecordingNet(nn.Module):
    """Keep the images of every call to a net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls: list[torch.Tensor] = []

    def forward(self, x):
        self.calls.append(x.clone())
        return self.net(x)

    @property
    def asked(self) -> int:
        return sum(len(x) for x in self.calls)


class LowPrecisionNet(nn.Module):
    """A net that computes below float32: by its weights, by its inputs, or by autocast."""

    def __init__(self, net: nn.Module, how: str, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.net, self.how, self.dtype = net, how, dtype
        if how == "weights":
            self.net = net.to(dtype)

    def forward(self, x):
        if self.how == "autocast":
            with torch.autocast("cpu", dtype=self.dtype):
                return self.net(x)
        return self.net(x.to(self.dtype))
