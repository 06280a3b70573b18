"""What the tests of attacks share: the attacks, a row each, and nets whose answers are known."""

from __future__ import annotations

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import APGD, FGSM, FGSMRS, L2, NES, NFGSM, PGD, Linf, Square, Worst, restarts
from adv.runtime.random_layers import Dropout, Noise

SHAPE = (3, 8, 8)


INF, TWO = Linf(0.05), L2(0.5)


ATTACKS = {
    "fgsm-linf": FGSM(INF),
    "fgsm-l2": FGSM(TWO),
    "pgd-linf": PGD(INF),
    "pgd-linf-absolute": PGD(INF, steps=20, step_size=0.01),
    "pgd-linf-from-the-image": PGD(INF, random_start=False),
    "pgd-l2": PGD(TWO, steps=30),
    "pgd-l2-absolute": PGD(TWO, steps=100, step_size=0.025),
    "pgd-margin": PGD(INF, loss="margin"),
    "apgd-linf": APGD(INF),
    "apgd-l2": APGD(TWO),
    "apgd-margin-linf": APGD(INF, loss="margin"),
    "apgd-margin-l2": APGD(TWO, loss="margin"),
    "worst": Worst((FGSM(INF), PGD(INF))),
    "restarts-linf": restarts(PGD(INF), 3),
    "restarts-l2": restarts(PGD(TWO, steps=100, pace=0.05), 2),
}


# These come near an optimum, with luck: what they reach is in test_square.py and test_nes.py.
BLACK_BOX = {
    "square-linf": Square(INF, queries=20),
    "square-l2": Square(TWO, queries=20),
    "nes-linf": NES(INF, queries=42, samples=20),
    "nes-l2": NES(TWO, queries=40, samples=20, momentum=0.5, loss="ce", early_stop=False),
}


# Made to train with: they need not find the worst point, nor stay in the ball.
CHEAP = {"fgsm-rs": FGSMRS(INF), "n-fgsm": NFGSM(INF), "n-fgsm-l2": NFGSM(TWO)}


def rows(*tables):
    """A test for each attack of these tables."""
    table = {name: attack for part in tables for name, attack in part.items()}
    return pytest.mark.parametrize("attack", table.values(), ids=table)


each, judging, every = rows(ATTACKS), rows(ATTACKS, BLACK_BOX), rows(ATTACKS, BLACK_BOX, CHEAP)


def batch(n: int = 8, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(n, *SHAPE, generator=seeded_generator(n))
    return x, torch.arange(n) % classes


class Linear(nn.Module):
    """Two classes apart by w.x + b: the worst point of a ball is known in closed form."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(0.2 * torch.randn(SHAPE, generator=seeded_generator(5)))
        self.b = nn.Parameter(torch.tensor(bias))

    def margin(self, x, y):
        """Of the right class over the wrong one: below 0 is a mistake."""
        return torch.where(y == 0, 1, -1) * ((self.w * x).sum((1, 2, 3)) + self.b).detach()

    def forward(self, x):
        half = ((self.w * x).sum((1, 2, 3)) + self.b) / 2
        return torch.stack([half, -half], 1)


class Mixed(nn.Module):
    """Everything that an attack could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = Dropout(0.5)
        self.plain_drop = nn.Dropout(0.5)
        self.noise = Noise(0.1)
        self.last = nn.Linear(144, 2)
        self.norm.eval()
        self.last.bias.requires_grad_(False)

    def forward(self, x):
        x = self.norm(self.first(self.noise(x))).relu().flatten(1)
        return self.last(self.plain_drop(self.drop(x)))
