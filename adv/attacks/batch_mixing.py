"""A batch in parts, each under one step more than the last: CAT's batch mixing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import _DEFAULT, Attack, check_images
from adv.attacks.ball import Ball
from adv.attacks.losses import Loss, check_loss
from adv.attacks.pgd import PGD


@dataclass(frozen=True)
class Ladder(Attack):
    """`steps + 1` parts of a batch under PGD of 0, 1, ..., `steps` steps (Cai et al. 2018).

    To train with. The parts are equal, the last takes the rest; the first stays clean. A step of
    part k is 2 eps / k times a number drawn for the part, uniform in [1, 10 / k].

    Args:
      ball: `Linf(eps)` as published, or `L2(eps)`.
      steps: of the last part, 0 or more.
      loss: what the steps ascend, as in `PGD`.

    Raises:
      ValueError: a setting is out of its range.
    """

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
        check_images(x, y)
        adv = x.detach().float().clone()
        if self.ball.eps == 0:
            return adv
        size = len(x) // (self.steps + 1)
        for k in range(1, self.steps + 1):
            part = slice(k * size, (k + 1) * size if k < self.steps else None)
            draw = torch.rand((), generator=generator or _DEFAULT).item()
            length = 2 * self.ball.eps / k * (1 + (10 / k - 1) * draw)
            attack = PGD(self.ball, steps=k, step_size=length, loss=self.loss)
            adv[part] = attack(model, adv[part], y[part], generator=generator)
        return adv
