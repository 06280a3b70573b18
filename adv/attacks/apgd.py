"""Auto-PGD (Croce and Hein 2020, algorithm 1): projected gradient ascent with adaptive step size.

It uses momentum and a step that starts at 2 eps. At each checkpoint the step is halved if the loss
rose too rarely since the last one or its best value did not improve; the ascent then continues from
the best point. As in the authors' code it starts on the sphere, and a checkpoint is taken at the
point just reached, where the paper takes one more step before it turns back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from adv.attacks.apgd_l1 import RADII, L1State, prepare_l1, step_l1
from adv.attacks.attack import Iterative, State, initial_state
from adv.attacks.ball import Ball, check_ball, column
from adv.attacks.gradient import LossAndGrad, loss_and_grad, with_loss_target
from adv.attacks.l1 import L1
from adv.attacks.linear_distance import pair_by_distance
from adv.attacks.losses import (
    Loss,
    TargetClass,
    check_loss,
    is_targeted,
    loss_supports,
)
from adv.attacks.select_rows import choose_rows
from adv.attacks.settings import ADDED_LATER

Order = Literal["likelihood", "distance"]

MOMENTUM = 0.75  # weight of the gradient step; the last move has the rest
RHO = 0.75  # fraction of the steps between two checkpoints that must raise the loss
# Checkpoints in percent of the steps: 22, 41, 57, 70, 80, ...
FIRST_CHECKPOINT, GAP_DECREASE, LEAST_GAP = 22, 3, 6


@dataclass(frozen=True)
class APGDState(State):
    """The state of APGD, all of it per image; images of different `age` may share a batch.

    `step_size` is a tensor [n] here.

    Args:
      age: [n] steps taken.
      previous: the point one step back.
      loss, gradient: those at `adv`.
      best, best_loss, best_gradient: those at the highest loss so far.
      result, result_loss, result_fools: the point with the highest loss among those that fool the
        model, or among all points as long as none does.
      checkpoint: [n] the next checkpoint, in percent of the steps.
      gap: [n] its distance from the one before, in percent of the steps.
      checkpoint_age: [n] `age` at the last checkpoint.
      rises: [n] how often the loss rose since the last checkpoint.
      checkpoint_loss: [n] the best loss at the last checkpoint.
      halved: [n] whether the last checkpoint halved the step.
    """

    age: Tensor
    previous: Tensor
    loss: Tensor
    gradient: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    result: Tensor
    result_loss: Tensor
    result_fools: Tensor
    checkpoint: Tensor
    gap: Tensor
    checkpoint_age: Tensor
    rises: Tensor
    checkpoint_loss: Tensor
    halved: Tensor


@dataclass(frozen=True)
class APGD(Iterative):
    """Auto-PGD. Its result is the best point it visited, not the last one.

    Args:
      ball: `Linf(eps)`, `L2(eps)` or `L1(eps)`, in which the attack differs: `adv.attacks.apgd_l1`.
      steps: gradient steps, 1 or more; one more gradient is computed at the start, in L1 three.
      loss: the loss to maximise (`adv.attacks.losses`): "ce", "dlr" (3 classes or more), "margin",
        the targeted form of one of them ("dlr-targeted": 4 classes or more), or "kl".
      target: for a targeted loss: k for the k-th wrong class of the clean image, in `order`; None:
        the first.
      target_class: as in `PGD`.
      order: of the wrong classes: "likelihood", or "distance", which asks for 20 gradients at most
        of each image and needs fewer targets (`adv.attacks.linear_distance`).

    Raises:
      TypeError: `ball` is no ball.
      ValueError: a setting is out of its range; on a call: the model has too few classes.
    """

    unused_by_step: ClassVar[frozenset[str]] = frozenset(
        {"ball", "target", "target_class", "order"}
    )

    ball: Ball
    steps: int = 100
    loss: Loss = "ce"
    target: int | None = None
    target_class: TargetClass | None = field(default=None, metadata=ADDED_LATER)
    order: Order = field(default="likelihood", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        check_ball(self.ball)
        check_loss(self.loss, self.target, self.target_class)
        if self.loss == "mifpe":
            raise ValueError("mifpe has no values to compare, which APGD needs: take PGD")
        by_rank = is_targeted(self.loss) and self.target_class is None
        if self.order not in get_args(Order) or (self.order == "distance" and not by_rank):
            raise ValueError(
                "order is 'likelihood' or, with a targeted loss and no target_class, 'distance', "
                f"got {self.order!r}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, got {self.steps}")

    def supports(self, classes: int) -> bool:
        return loss_supports(self.loss, self.target, classes, self.target_class)

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        if isinstance(self.ball, L1):
            adv = L1(RADII[0] * self.ball.eps).sample_sphere(x, generator)
            return initial_state(x, y, adv, generator, eps=self.ball.eps)
        adv, eps = self.ball.sample_sphere(x, generator), self.ball.eps
        return initial_state(x, y, adv, generator, eps=eps, step_size=2 * eps)

    def prepare(self, model: nn.Module, state: State) -> State:
        if self.order == "distance":
            x, y = state.clean, state.labels
            pair = pair_by_distance(model, x, y, self.ball, self.target or 1)
            state = replace(state, loss_target=pair)
        else:
            state = with_loss_target(model, state, self.loss, self.target, self.target_class)
        if isinstance(self.ball, L1):
            return prepare_l1(model, state, self.ball, self.loss, self.steps)
        here = loss_and_grad(model, state.adv, state.loss_target, self.loss)
        return _first_state(state, here)

    def step(self, model: nn.Module, state: State) -> State:
        if isinstance(state, L1State):
            return step_l1(model, state, self.ball, self.loss, self.steps)
        assert isinstance(state, APGDState), "APGD must prepare before its first step"
        adv = self._next_point(state)
        here = loss_and_grad(model, adv, state.loss_target, self.loss)
        return _apply_checkpoint(_record_point(state, adv, here), self.steps)

    def result(self, state: State) -> Tensor:
        return state.result if isinstance(state, APGDState | L1State) else state.adv

    def _next_point(self, state: APGDState) -> Tensor:
        """Return the next point [n, c, h, w]: a gradient step, mixed with the last move."""
        ahead = self.ball.ascend(state.adv, state.gradient, state.step_size)
        ahead = self.ball.project(ahead, state.clean, state.eps)
        weight = column(torch.where(state.age == 0, 1.0, MOMENTUM), state.adv)
        momentum = (state.adv - state.previous).mul_(1 - weight)
        moved = ahead.sub_(state.adv).mul_(weight).add_(state.adv).add_(momentum)
        return self.ball.project(moved, state.clean, state.eps)


def _first_state(state: State, here: LossAndGrad) -> APGDState:
    """Return the state at the starting point, which is the best so far."""
    loss, fooled = _nan_to_lowest(here.loss), here.fooled(state.labels)
    zero = torch.zeros_like(fooled, dtype=torch.int32)
    plain: dict[str, Any] = {f.name: getattr(state, f.name) for f in fields(State)}
    step_size = torch.zeros_like(loss) + state.step_size
    return APGDState(
        **{**plain, "fooled": fooled, "step_size": step_size},
        age=zero,
        previous=state.adv,
        loss=loss,
        gradient=here.gradient,
        best=state.adv,
        best_loss=loss,
        best_gradient=here.gradient,
        result=state.adv,
        result_loss=loss,
        result_fools=fooled,
        checkpoint=zero + FIRST_CHECKPOINT,
        gap=zero + FIRST_CHECKPOINT,
        checkpoint_age=zero,
        rises=zero,
        checkpoint_loss=loss,
        halved=torch.zeros_like(fooled),
    )


def _record_point(state: APGDState, adv: Tensor, here: LossAndGrad) -> APGDState:
    """Return the state at the new point `adv`, with the best points updated."""
    loss, fools = _nan_to_lowest(here.loss), here.fooled(state.labels)
    better = loss > state.best_loss
    valid = fools & (loss > -torch.inf)  # a point whose logits are NaN is not a result
    higher = (valid == state.result_fools) & (loss > state.result_loss)
    wins = (valid > state.result_fools) | higher
    return replace(
        state,
        adv=adv,
        previous=state.adv,
        fooled=fools,
        age=state.age + 1,
        rises=state.rises + (loss > state.loss),
        loss=loss,
        gradient=here.gradient,
        best=choose_rows(better, adv, state.best),
        best_loss=choose_rows(better, loss, state.best_loss),
        best_gradient=choose_rows(better, here.gradient, state.best_gradient),
        result=choose_rows(wins, adv, state.result),
        result_loss=choose_rows(wins, loss, state.result_loss),
        result_fools=state.result_fools | valid,
    )


def _apply_checkpoint(state: APGDState, steps: int) -> APGDState:
    """Return the state after a checkpoint, for images that have reached one.

    If condition 1 or 2 of the paper holds, the step is halved and the image is put back to its best
    point.
    """
    due = 100 * state.age >= state.checkpoint * steps
    rarely_rose = state.rises < RHO * (state.age - state.checkpoint_age)
    no_better = ~state.halved & (state.best_loss <= state.checkpoint_loss)
    halve = due & (rarely_rose | no_better)
    gap = (state.gap - GAP_DECREASE).clamp(min=LEAST_GAP)
    return replace(
        state,
        step_size=torch.where(halve, state.step_size / 2, state.step_size),
        adv=choose_rows(halve, state.best, state.adv),
        loss=choose_rows(halve, state.best_loss, state.loss),
        gradient=choose_rows(halve, state.best_gradient, state.gradient),
        checkpoint=torch.where(due, state.checkpoint + gap, state.checkpoint),
        gap=torch.where(due, gap, state.gap),
        checkpoint_age=torch.where(due, state.age, state.checkpoint_age),
        rises=torch.where(due, 0, state.rises),
        checkpoint_loss=choose_rows(due, state.best_loss, state.checkpoint_loss),
        halved=torch.where(due, halve, state.halved),
    )


def _nan_to_lowest(loss: Tensor) -> Tensor:
    """Return the loss with NaN replaced by minus infinity."""
    return loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
