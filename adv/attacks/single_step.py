"""Attacks of one step that are made to train with, at less than twice the price of no attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, begin, slope
from adv.attacks.ball import Ball
from adv.attacks.losses import Loss, check_loss
from adv.attacks.pgd import PGD


def FGSMRS(ball: Ball, pace: float = 1.25) -> PGD:
    """FGSM with a random start (Wong et al. 2020): one step of `pace * eps`, back into the ball."""
    return PGD(ball, steps=1, pace=pace)


@dataclass(frozen=True)
class NFGSM(Iterative):
    """N-FGSM (de Jorge et al. 2022): more noise than the ball holds, one step, and no way back.

    To train with, never to judge: its images leave the ball, by up to `(noise + pace) * eps`. That
    is what keeps it from catastrophic overfitting.

    Args:
      ball: `Linf(eps)` as published, or `L2(eps)`.
      noise: radius of the uniform noise, relative to eps.
      pace: length of the step, relative to eps.
      loss: what the step ascends, as in `PGD`.

    Raises:
      ValueError: a setting is negative or not finite, or the step has no length.
    """

    ball: Ball
    noise: float = 2.0
    pace: float = 1.0
    loss: Loss = "ce"
    steps: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        check_loss(self.loss)
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise is 0 or more, relative to eps, got {self.noise}")
        if not (math.isfinite(self.pace) and self.pace > 0):
            raise ValueError(f"a step must have a finite length above 0, got {self.pace}")

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        wide = replace(self.ball, eps=self.noise * self.ball.eps)
        return begin(x, y, wide.sample(x, generator), generator)

    def aim(self, model: nn.Module, state: State) -> State:
        return PGD(self.ball, loss=self.loss).aim(model, state)

    def step(self, model: nn.Module, state: State) -> State:
        here = slope(model, state.adv, state.against, self.loss)
        adv = self.ball.ascend(state.adv, here.gradient, self.pace * self.ball.eps)
        return replace(state, adv=adv.clamp(0, 1), fooled=here.fooled(state.labels))
