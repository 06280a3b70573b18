"""Projected gradient descent (Madry et al. 2018, section 2.1), and FGSM (Goodfellow et al. 2015).

x_{k+1} = project(x_k + step * steepest ascent of the cross-entropy), from a random point of the
ball. FGSM is its first step, of full length, from the image itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, begin, input_gradient
from adv.attacks.ball import Ball


@dataclass(frozen=True)
class PGD(Iterative):
    """Projected gradient descent.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      steps: gradient steps, 1 or more.
      step_size: length of a step in pixel units; None: `pace * ball.eps`.
      pace: length of a step relative to eps, used where `step_size` is None.
      random_start: begin at a random point of the ball, else at the image.

    Raises:
      ValueError: a setting is out of its range.
    """

    ball: Ball
    steps: int = 20
    step_size: float | None = None
    pace: float = 0.25
    random_start: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        if self.ball.eps > 0 and not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"a step must have a finite length above 0, got {self.length}")

    @property
    def length(self) -> float:
        """Length of a step in pixel units."""
        return self.pace * self.ball.eps if self.step_size is None else self.step_size

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        return begin(x, y, self.ball.sample(x, generator) if self.random_start else x, generator)

    def step(self, model: nn.Module, state: State) -> State:
        gradient, fooled = input_gradient(model, state.adv, state.labels)
        adv = self.ball.project(self.ball.ascend(state.adv, gradient, self.length), state.clean)
        return State(state.clean, state.labels, adv, fooled, state.generator)


def FGSM(ball: Ball) -> PGD:
    """The fast gradient sign method: one step of length eps from the image itself."""
    return PGD(ball, steps=1, pace=1.0, random_start=False)
