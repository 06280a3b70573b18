"""Auto-PGD (Croce and Hein 2020, algorithm 1): projected gradient ascent without a step to choose.

Momentum, and a step that begins at 2 eps and is halved whenever, between two checkpoints, the loss
rose too seldom or its best value stood still; the ascent then goes on from the best point. As in
the authors' code it begins on the rim of the ball, and a checkpoint is taken at the point just
reached, where the paper takes one step more before it turns back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, Slope, State, aimed, begin, slope
from adv.attacks.ball import Ball, column
from adv.attacks.losses import Loss, check_loss, suited

MOMENTUM = 0.75  # share of the gradient's move, the rest is the last move's
RHO = 0.75  # of the steps between two checkpoints have to raise the loss
FIRST, CLOSER, LEAST = 22, 3, 6  # checkpoints, in percent of the steps: 22, 41, 57, 70, 80, ...


@dataclass(frozen=True)
class Climb(State):
    """A `State` with the books of each image; images of different `age` may share a batch.

    `age` [n] counts steps. `loss` and `gradient` are those at `adv`, `before` is the point one step
    back, `size` [n] the step in pixel units. `best`, `best_loss`, `best_gradient` belong to the
    highest loss so far; `won`, `won_loss`, `won_fools` to the highest among the points that fool
    the model, or among all as long as none does. Of the checkpoints, `checkpoint` [n] is the next
    one and `gap` its distance from the one before, both in percent of the steps; `since` is the age
    at the last one, `rises` counts how often the loss rose from there on, `last_best` is the best
    loss there, and `halved` whether it halved the step.
    """

    age: Tensor
    before: Tensor
    loss: Tensor
    gradient: Tensor
    size: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    won: Tensor
    won_loss: Tensor
    won_fools: Tensor
    checkpoint: Tensor
    gap: Tensor
    since: Tensor
    rises: Tensor
    last_best: Tensor
    halved: Tensor


@dataclass(frozen=True)
class APGD(Iterative):
    """Auto-PGD. Its result is the best point it met, not the last one.

    Args:
      ball: `Linf(eps)` or `L2(eps)`.
      steps: gradient steps, 1 or more; one more gradient is taken at the start.
      loss: what it ascends (`adv.attacks.losses`): "ce", "dlr" (3 classes or more), "dlr-targeted" (4
        or more), "margin" or "kl".
      target: of "dlr-targeted", the how many-th most likely wrong class of the clean image; None:
        the first.

    Raises:
      ValueError: a setting is out of its range; on a call: the model has too few classes.
    """

    mixes: ClassVar[bool] = True

    ball: Ball
    steps: int = 100
    loss: Loss = "ce"
    target: int | None = None

    def __post_init__(self) -> None:
        check_loss(self.loss, self.target)
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")

    def suits(self, classes: int) -> bool:
        return suited(self.loss, self.target, classes)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        return begin(x, y, self.ball.rim(x, generator), generator)

    def aim(self, model: nn.Module, state: State) -> Climb:
        state = aimed(model, state, self.loss, self.target)
        return _opened(state, slope(model, state.adv, state.against, self.loss), self.ball.eps)

    def step(self, model: nn.Module, state: State) -> Climb:
        assert isinstance(state, Climb), "an APGD has to aim before its first step"
        adv = self._moved(state)
        here = slope(model, adv, state.against, self.loss)
        return _checked(_entered(state, adv, here), self.steps)

    def result(self, state: State) -> Tensor:
        return state.won if isinstance(state, Climb) else state.adv

    def _moved(self, state: Climb) -> Tensor:
        """The next point: along the gradient, and on along the last move."""
        size = column(state.size, state.adv)
        ahead = self.ball.ascend(state.adv, state.gradient, size)
        ahead = self.ball.project(ahead, state.clean)
        share = column(torch.where(state.age == 0, 1.0, MOMENTUM), state.adv)
        drift = (state.adv - state.before).mul_(1 - share)
        moved = ahead.sub_(state.adv).mul_(share).add_(state.adv).add_(drift)
        return self.ball.project(moved, state.clean)


def _opened(state: State, here: Slope, eps: float) -> Climb:
    """The books at the start: everything is the best so far."""
    loss, fooled = _real(here.loss), here.fooled(state.labels)
    zero = torch.zeros_like(fooled, dtype=torch.int32)
    plain: dict[str, Any] = {field.name: getattr(state, field.name) for field in fields(State)}
    return Climb(
        **{**plain, "fooled": fooled},
        age=zero,
        before=state.adv,
        loss=loss,
        gradient=here.gradient,
        size=torch.full_like(loss, 2 * eps),
        best=state.adv,
        best_loss=loss,
        best_gradient=here.gradient,
        won=state.adv,
        won_loss=loss,
        won_fools=fooled,
        checkpoint=zero + FIRST,
        gap=zero + FIRST,
        since=zero,
        rises=zero,
        last_best=loss,
        halved=torch.zeros_like(fooled),
    )


def _entered(state: Climb, adv: Tensor, here: Slope) -> Climb:
    """The books with the new point entered."""
    loss, fools = _real(here.loss), here.fooled(state.labels)
    better = loss > state.best_loss
    told = fools & (loss > -torch.inf)  # a point whose answer is no number is nobody's result
    wins = (told > state.won_fools) | ((told == state.won_fools) & (loss > state.won_loss))
    return replace(
        state,
        adv=adv,
        before=state.adv,
        fooled=fools,
        age=state.age + 1,
        rises=state.rises + (loss > state.loss),
        loss=loss,
        gradient=here.gradient,
        best=_taken(better, adv, state.best),
        best_loss=_taken(better, loss, state.best_loss),
        best_gradient=_taken(better, here.gradient, state.best_gradient),
        won=_taken(wins, adv, state.won),
        won_loss=_taken(wins, loss, state.won_loss),
        won_fools=state.won_fools | told,
    )


def _checked(state: Climb, steps: int) -> Climb:
    """At a checkpoint, condition 1 or 2 halves the step and turns back to the best point."""
    due = 100 * state.age >= state.checkpoint * steps
    seldom = state.rises < RHO * (state.age - state.since)
    stuck = ~state.halved & (state.best_loss <= state.last_best)
    halve = due & (seldom | stuck)
    gap = (state.gap - CLOSER).clamp(min=LEAST)
    return replace(
        state,
        size=torch.where(halve, state.size / 2, state.size),
        adv=_taken(halve, state.best, state.adv),
        loss=_taken(halve, state.best_loss, state.loss),
        gradient=_taken(halve, state.best_gradient, state.gradient),
        checkpoint=torch.where(due, state.checkpoint + gap, state.checkpoint),
        gap=torch.where(due, gap, state.gap),
        since=torch.where(due, state.age, state.since),
        rises=torch.where(due, 0, state.rises),
        last_best=_taken(due, state.best_loss, state.last_best),
        halved=torch.where(due, halve, state.halved),
    )


def _taken(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The new values where the mask [n] is true; no host need look at it.

    On a CPU a look is free, and most masks are all of one kind.
    """
    if mask.device.type == "cpu":
        if not mask.any():
            return old
        if mask.all():
            return new
    return torch.where(column(mask, new), new, old)


def _real(loss: Tensor) -> Tensor:
    """The loss, and where it is not a number, less than any."""
    return loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
