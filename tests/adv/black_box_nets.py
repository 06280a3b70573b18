"""What the tests of black boxes share: a net that records its queries, problems without slope."""

from __future__ import annotations

import torch
from testing import seeded
from torch import nn

SHAPE = (3, 8, 8)


def crooked(n: int = 64, shape: tuple[int, ...] = SHAPE):
    """A crooked net with labels of its own, so that every image is right before an attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = 16 * (shape[1] - 2) * (shape[2] - 2)
        net = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3), nn.GELU(), nn.Flatten(), nn.Linear(inner, 5)
        )
        for weight in net.parameters():
            weight.data *= 6
    x = torch.rand(n, *shape, generator=seeded(n))
    return net.eval(), x, net(x).argmax(1)


class Recording(nn.Module):
    """Keeps the images that it was asked about, call by call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, []

    def forward(self, x):
        self.calls.append(x.clone())
        return self.net(x)

    @property
    def asked(self) -> int:
        return sum(len(x) for x in self.calls)


class Low(nn.Module):
    """A net that runs in less than float32, in one way or another."""

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
