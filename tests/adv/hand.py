"""What tests share: nets, how states are compared, a small disk, a command line in this process."""

from __future__ import annotations

import io
import resource
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from adv import Net
from adv.models import Normalize
from adv.randomness import Dropout


@dataclass(frozen=True)
class Normed(Net):
    """A small net with BatchNorm, and dropout if wanted.

    Its convolutions have no bias: in front of a BatchNorm a bias has no gradient but rounding,
    which AdamW divides by its own size and so makes as large as any other step.
    """

    width: int = 6
    dropout: float = 0.0

    def __call__(self, classes: int) -> nn.Module:
        wide = 2 * self.width
        return nn.Sequential(
            Normalize(),
            *(nn.Conv2d(3, self.width, 5, stride=2, bias=False), nn.BatchNorm2d(self.width)),
            *(nn.ReLU(), nn.Conv2d(self.width, wide, 3, stride=2, bias=False)),
            *(nn.BatchNorm2d(wide), nn.ReLU()),
            *(nn.Flatten(), Dropout(self.dropout), nn.Linear(36 * wide, classes)),
        )


class Counting(nn.Module):
    """Counts the images that pass through its net."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x):
        self.seen += len(x)
        return self.net(x)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a, b) -> bool:
    """Equal, bit for bit, all the way down."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    return a == b


@contextmanager
def small_disk(size: int):
    """No file of this process may grow beyond `size` bytes: the kernel breaks off the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def command_line(monkeypatch, capfd, *verbs: str) -> Callable[..., tuple[int, str, str]]:
    """`python -m adv VERBS ...` in this process: arguments to (exit code, stdout, stderr)."""
    from adv.__main__ import run

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["adv", *verbs, *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        return (left.value.code or 0, *capfd.readouterr())

    return called
