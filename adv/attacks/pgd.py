"""Projected gradient descent (Madry et al. 2018, section 2.1), and FGSM (Goodfellow et al. 2015).

x_{k+1} = project(x_k + step * steepest ascent of the loss), from a random point of the ball. FGSM
is a single step of full length from the image itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, initial_state
from adv.attacks.ball import Ball, check_ball
from adv.attacks.gradient import loss_and_grad, with_loss_target
from adv.attacks.losses import Loss, TargetClass, check_loss, loss_supports


@dataclass(frozen=True)
class PGD(Iterative):
    """Projected gradient descent.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      steps: gradient steps, 1 or more.
      step_size: length of a step in pixel units; None: `pace * ball.eps`.
      pace: length of a step relative to eps, used where `step_size` is None.
      random_start: start at a random point of the ball, else at the image.
      loss: the loss to maximise: "ce", "margin" or "dlr" (`adv.attacks.losses`), the targeted form
        of one of them, such as "ce-targeted", or "kl", the divergence from the model's own
        prediction at the clean image, which uses no label (TRADES).
      target: for a targeted loss: k for the k-th most likely wrong class; None: the first.
      target_class: for a targeted loss, in place of `target`: a class, or "least-likely". Images of
        that class get the most likely wrong class as their target.

    Raises:
      TypeError: `ball` is no ball.
      ValueError: a setting is out of its range.
    """

    unused_by_step: ClassVar[frozenset[str]] = frozenset(
        {"ball", "steps", "step_size", "pace", "random_start", "target", "target_class"}
    )

    ball: Ball
    steps: int = 20
    step_size: float | None = None
    pace: float = 0.25
    random_start: bool = True
    loss: Loss = "ce"
    target: int | None = None
    target_class: TargetClass | None = None

    def __post_init__(self) -> None:
        check_ball(self.ball)
        check_loss(self.loss, self.target, self.target_class)
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")
        if self.ball.eps > 0 and not (math.isfinite(self.length) and self.length > 0):
            raise ValueError(f"a step must have a finite length above 0, got {self.length}")

    @property
    def length(self) -> float:
        """The length of a step in pixel units."""
        return self.pace * self.ball.eps if self.step_size is None else self.step_size

    def supports(self, classes: int) -> bool:
        return loss_supports(self.loss, self.target, classes, self.target_class)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        adv = self.ball.sample(x, generator) if self.random_start else x
        return initial_state(x, y, adv, generator, eps=self.ball.eps, step_size=self.length)

    def prepare(self, model: nn.Module, state: State) -> State:
        return with_loss_target(model, state, self.loss, self.target, self.target_class)

    def step(self, model: nn.Module, state: State) -> State:
        here = loss_and_grad(model, state.adv, state.loss_target, self.loss)
        moved = self.ball.ascend(state.adv, here.gradient, state.step_size)
        adv = self.ball.project(moved, state.clean, state.eps)
        return replace(state, adv=adv, fooled=here.fooled(state.labels))


def FGSM(ball: Ball) -> PGD:
    """The fast gradient sign method: one step of length eps from the image itself."""
    return PGD(ball, steps=1, pace=1.0, random_start=False)
