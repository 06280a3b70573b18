"""PMA, the probability margin attack (arXiv 2411.15210): PGD on one loss, then on another.

A run climbs one of two terms in the first half of its steps, minus the probability of the right
class or that of the likeliest wrong one, and their sum in the second half. Its first step climbs
the probability of the right class, away from the boundary, so that runs begin far apart. The
length of the steps falls from 2 eps to 0 in each half.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State
from adv.attacks.ball import Ball, check_ball
from adv.attacks.composite import Worst
from adv.attacks.gradient import loss_and_grad
from adv.attacks.losses import loss_supports, right_and_wrong
from adv.attacks.pgd import PGD, AgedState
from adv.attacks.step_schedule import cosine_cycles, half_of


@dataclass(frozen=True)
class ProbabilityMargin(Iterative):
    """One run of PMA; `PMA` is both.

    Where a confident net's softmax saturates, the loss has no slope: the margin or DLR has.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      steps: gradient steps, 2 or more.
      first: the term of the first half: "right" lowers the probability of the right class, "wrong"
        raises that of the likeliest wrong one.

    Raises:
      TypeError: `ball` is no ball.
      ValueError: a setting is out of its range; on a call: the model has fewer than two classes.
    """

    unused_by_step: ClassVar[frozenset[str]] = frozenset({"ball"})

    ball: Ball
    steps: int = 100
    first: Literal["right", "wrong"] = "right"

    def __post_init__(self) -> None:
        check_ball(self.ball)
        if self.steps < 2:
            raise ValueError(f"steps must be 2 or more, got {self.steps}")
        if self.first not in ("right", "wrong"):
            raise ValueError(f"first is 'right' or 'wrong', got {self.first!r}")

    def supports(self, classes: int) -> bool:
        return loss_supports("probability-margin", None, classes)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        return PGD(self.ball, self.steps, pace=2.0, schedule="cosine").start(x, y, generator)

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, AgedState)
        weight_right, weight_wrong = self._weights(state.age)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            right, wrong = right_and_wrong(logits, labels)
            return weight_wrong * wrong - weight_right * right

        here = loss_and_grad(model, state.adv, state.labels, loss)
        length = state.step_size * cosine_cycles(state.age, self.steps)
        moved = self.ball.ascend(state.adv, here.gradient, length)
        adv = self.ball.project(moved, state.clean, state.eps)
        return replace(state, adv=adv, fooled=here.fooled(state.labels), age=state.age + 1)

    def _weights(self, age: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights [n] of the terms "right" and "wrong" at these ages [n]."""
        late = age >= half_of(self.steps)
        weights = {name: (late | (name == self.first)).float() for name in ("right", "wrong")}
        return (
            torch.where(age == 0, -1.0, weights["right"]),
            torch.where(age == 0, 0.0, weights["wrong"]),
        )


def PMA(ball: Ball, steps: int = 100) -> Worst:
    """Both runs of the probability margin attack, the second on what the first left."""
    return Worst((ProbabilityMargin(ball, steps), ProbabilityMargin(ball, steps, "wrong")))
