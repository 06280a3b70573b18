"""What the tests of attacks share: the attacks, a row each, and nets whose answers are known."""

from __future__ import annotations

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import (
    APGD,
    DDN,
    FGSM,
    FGSMRS,
    FMN,
    L2,
    NES,
    NFGSM,
    PGD,
    PMA,
    Linf,
    Square,
    Worst,
    restarts,
)
from adv.runtime.random_layers import Dropout, Noise

SHAPE = (3, 8, 8)


LINF, L2_BALL = Linf(0.05), L2(0.5)


ATTACKS = {
    "fgsm-linf": FGSM(LINF),
    "fgsm-l2": FGSM(L2_BALL),
    "pgd-linf": PGD(LINF),
    "pgd-linf-absolute": PGD(LINF, steps=20, step_size=0.01),
    "pgd-linf-from-the-image": PGD(LINF, random_start=False),
    "pgd-l2": PGD(L2_BALL, steps=30),
    "pgd-l2-absolute": PGD(L2_BALL, steps=100, step_size=0.025),
    "pgd-margin": PGD(LINF, loss="margin"),
    "apgd-linf": APGD(LINF),
    "apgd-l2": APGD(L2_BALL),
    "apgd-margin-linf": APGD(LINF, loss="margin"),
    "apgd-margin-l2": APGD(L2_BALL, loss="margin"),
    "pgd-mifpe-cosine": PGD(LINF, loss="mifpe", pace=2.0, schedule="cosine"),
    "pgd-momentum": PGD(LINF, momentum=0.75),
    "pgd-probability-margin": PGD(LINF, loss="probability-margin"),
    "pma-linf": PMA(LINF, 20),
    "pma-l2": PMA(L2_BALL, 40),
    "apgd-by-distance": APGD(LINF, loss="margin-targeted", target=1, order="distance"),
    "pgd-ce-targeted": PGD(LINF, loss="ce-targeted", target=1),
    "apgd-margin-targeted-l2": APGD(L2_BALL, loss="margin-targeted", target_class="least-likely"),
    "worst": Worst((FGSM(LINF), PGD(LINF))),
    "restarts-linf": restarts(PGD(LINF), 3),
    "restarts-l2": restarts(PGD(L2_BALL, steps=100, pace=0.05), 2),
}


# Random search only approaches an optimum: test_square.py and test_nes.py test how near.
BLACK_BOX = {
    "square-linf": Square(LINF, queries=20),
    "square-l2": Square(L2_BALL, queries=20),
    "square-targeted": Square(LINF, queries=20, loss="margin-targeted", target_class=1),
    "nes-linf": NES(LINF, queries=42, samples=20),
    "nes-l2": NES(L2_BALL, queries=40, samples=20, momentum=0.5, loss="ce", early_stop=False),
}


# They end at the nearest boundary instead of the optimum: test_minimum_norm.py tests how near.
MINIMUM_NORM = {
    "fmn-linf": FMN(LINF, 20),
    "fmn-l2": FMN(L2_BALL, 20),
    "ddn-l2": DDN(L2_BALL, 20),
}


# They need neither reach the optimum nor stay in the ball.
TRAINING_ONLY = {"fgsm-rs": FGSMRS(LINF), "n-fgsm": NFGSM(LINF), "n-fgsm-l2": NFGSM(L2_BALL)}


def parametrize_attacks(*tables):
    """Return a decorator that runs a test for each attack of these tables."""
    table = {name: attack for part in tables for name, attack in part.items()}
    return pytest.mark.parametrize("attack", table.values(), ids=table)


each_optimal_attack = parametrize_attacks(ATTACKS)
each_evaluation_attack = parametrize_attacks(ATTACKS, BLACK_BOX, MINIMUM_NORM)
each_attack = parametrize_attacks(ATTACKS, BLACK_BOX, MINIMUM_NORM, TRAINING_ONLY)


def random_batch(n: int = 8, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(n, *SHAPE, generator=seeded_generator(n))
    return x, torch.arange(n) % classes


class LinearModel(nn.Module):
    """A linear model of two classes: the optimal perturbation is known in closed form."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(0.2 * torch.randn(SHAPE, generator=seeded_generator(5)))
        self.b = nn.Parameter(torch.tensor(bias))

    def margin(self, x, y):
        """Return the margin of the right class over the wrong one: below 0 is a mistake."""
        return torch.where(y == 0, 1, -1) * ((self.w * x).sum((1, 2, 3)) + self.b).detach()

    def forward(self, x):
        half = ((self.w * x).sum((1, 2, 3)) + self.b) / 2
        return torch.stack([half, -half], 1)


class StatefulNet(nn.Module):
    """A net with every kind of state that an attack could disturb."""

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
        with torch.no_grad():  # both classes are predicted, whatever the random weights
            logits = StatefulNet.forward(self.eval(), random_batch()[0])
            self.last.bias.sub_(logits.median(0).values)
        self.train()
        self.norm.eval()

    def forward(self, x):
        x = self.norm(self.first(self.noise(x))).relu().flatten(1)
        return self.last(self.plain_drop(self.drop(x)))
