"""The batch mixing of curriculum adversarial training (CAT): PGD of 0 to k steps in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Attack, default_generator
from adv.attacks.ball import Ball
from adv.attacks.inputs import check_inputs
from adv.attacks.losses import Loss, check_loss
from adv.attacks.pgd import PGD


@dataclass(frozen=True)
class Ladder(Attack):
    """CAT's batch mixing: `steps + 1` parts of a batch under PGD of 0, 1, ..., `steps` steps.

    For training (Cai et al. 2018). The parts are equal, the last also takes the remainder; the
    first stays clean. The step length of part k is 2 eps / k times a random number, one per part,
    uniform in [1, 10 / k].

    Args:
      ball: `Linf(eps)` as published, or `L2(eps)`.
      steps: steps of the last part, 0 or more.
      loss: the loss that the steps maximise, as in `PGD`.

    Raises:
      ValueError: a setting is out of its range.
    """

    budget_setting: ClassVar[str | None] = "steps"

    ball: Ball
    steps: int = 7
    loss: Loss = "ce"

    def __post_init__(self) -> None:
        check_loss(self.loss)
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, got {self.steps}")

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        clean, y = check_inputs(x, y)
        adv = clean.clone()
        if self.ball.eps == 0:
            return adv
        generator = generator or default_generator()
        size = len(x) // (self.steps + 1)
        for k in range(1, self.steps + 1):
            rows = slice(k * size, (k + 1) * size if k < self.steps else None)
            draw = torch.rand((), generator=generator).item()
            length = 2 * self.ball.eps / k * (1 + (10 / k - 1) * draw)
            attack = PGD(self.ball, steps=k, step_size=length, loss=self.loss)
            adv[rows] = attack(model, adv[rows], y[rows], generator=generator)
        return adv
