"""Single-step attacks for training, at less than twice the cost of training without an attack."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, initial_state
from adv.attacks.ball import Ball
from adv.attacks.gradient import loss_and_grad, with_loss_target
from adv.attacks.losses import Loss, check_loss
from adv.attacks.pgd import PGD


def FGSMRS(ball: Ball, pace: float = 1.25) -> PGD:
    """FGSM with a random start (Wong et al. 2020): one step of `pace * eps`, then projected."""
    return PGD(ball, steps=1, pace=pace)


@dataclass(frozen=True)
class NFGSM(Iterative):
    """N-FGSM (de Jorge et al. 2022): noise beyond the ball, one step, and no projection.

    For training, not for evaluation: its images leave the ball, by up to `(noise + pace) * eps`.
    That is what keeps it from catastrophic overfitting.

    Args:
      ball: `Linf(eps)` as published, or `L2(eps)`.
      noise: radius of the uniform noise, relative to eps.
      pace: length of the step, relative to eps.
      loss: the loss that the step maximises, as in `PGD`.

    Raises:
      ValueError: a setting is negative or not finite, or the step has no length.
    """

    budget_setting: ClassVar[str | None] = None
    unused_by_step: ClassVar[frozenset[str]] = frozenset({"ball", "noise", "pace", "steps"})

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
        eps = self.ball.eps
        adv = replace(self.ball, eps=self.noise * eps).sample(x, generator)
        return initial_state(x, y, adv, generator, eps=eps, step_size=self.pace * eps)

    def prepare(self, model: nn.Module, state: State) -> State:
        return with_loss_target(model, state, self.loss)

    def step(self, model: nn.Module, state: State) -> State:
        here = loss_and_grad(model, state.adv, state.loss_target, self.loss)
        adv = self.ball.ascend(state.adv, here.gradient, state.step_size)
        return replace(state, adv=adv.clamp(0, 1), fooled=here.fooled(state.labels))
