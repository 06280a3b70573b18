"""APGD in the L1 ball (Croce and Hein, "Mind the box", ICML 2021, algorithm 2).

It differs from APGD in the other norms. A step goes along the largest components of the gradient,
of which there are fewer as the best point gets sparser; there is no momentum; and the attack begins
in a ball of three times the radius, goes on in one of twice the radius, and ends in its own, for
30, 30 and 40 percent of the steps. What fools the model in a larger ball is no result.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from adv.attacks.attack import State
from adv.attacks.ball import Ball, column
from adv.attacks.gradient import LossAndGrad, loss_and_grad
from adv.attacks.l1 import SHARE, ascend_sparsely
from adv.attacks.losses import Loss
from adv.attacks.select_rows import choose_rows

RADII = (3.0, 2.0, 1.0)  # relative to eps, for 30, 30 and 40 percent of the steps
CHECK_EVERY = 0.04  # share of the steps of a stage between two checkpoints
SPARSER = 0.95  # the support of the best point has shrunk below this share of what it was
SHRINK, SHORTEST = 1.5, 10.0  # of the step at a checkpoint; the shortest is eps / 10


@dataclass(frozen=True)
class L1State(State):
    """The state of APGD in L1, all of it per image.

    `step_size` is a tensor [n], relative to the radius of the stage. `fooled` is true only for
    points in the ball of the attack itself.

    Args:
      age: [n] steps taken.
      gradient: that at `adv`.
      best, best_loss, best_gradient: those at the highest loss in this stage.
      result, result_loss, result_fools: the point of the last stage with the highest loss among
        those that fool the model, or among all points as long as none does.
      share: [n] of the components that a step changes.
      support: [n] how many values the best point had changed at the last checkpoint.
    """

    age: Tensor
    gradient: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    result: Tensor
    result_loss: Tensor
    result_fools: Tensor
    share: Tensor
    support: Tensor


def stage_ends(steps: int) -> tuple[int, int]:
    """Return after how many steps the second and the third stage begin."""
    first = -(-3 * steps // 10) if steps >= 3 else 0
    return first, 2 * first


def prepare_l1(model: nn.Module, state: State, ball: Ball, loss: Loss, steps: int) -> L1State:
    """Return the state before the first step, in the ball of the first stage."""
    radius = _radius(state, torch.zeros(len(state.labels), device=state.adv.device), steps)
    adv = ball.project(state.adv, state.clean, radius)
    here = loss_and_grad(model, adv, state.loss_target, loss)
    size = state.clean[0].numel() if len(state.clean) else 1
    flat = torch.full((len(state.labels),), 1.0, device=adv.device)
    lowest = torch.full_like(flat, -torch.inf)
    known = {one.name: getattr(state, one.name) for one in fields(State)}
    known |= {"adv": adv, "step_size": flat}
    begun = L1State(
        **known,
        age=torch.zeros_like(flat, dtype=torch.int32),
        gradient=here.gradient,
        best=adv,
        best_loss=_number(here),
        best_gradient=here.gradient,
        result=ball.project(adv, state.clean, state.eps),
        result_loss=lowest,
        result_fools=torch.zeros_like(state.fooled),
        share=SHARE * flat,
        support=size * flat,
    )
    return _note_result(begun, here, steps)


def step_l1(model: nn.Module, state: L1State, ball: Ball, loss: Loss, steps: int) -> L1State:
    """Return the state after one more step."""
    radius = _radius(state, state.age, steps)
    starts = _starts_stage(state.age, steps)
    adv, gradient = state.adv, state.gradient
    if bool(starts.any()):  # go on from the best point so far, in the smaller ball
        state = _begin_stage(model, state, starts, ball, loss, radius)
        adv, gradient = state.adv, state.gradient
    moved = ascend_sparsely(adv, gradient, state.step_size * radius, state.share)
    adv = ball.project(moved, state.clean, radius)
    here = loss_and_grad(model, adv, state.loss_target, loss)
    better = _number(here) > state.best_loss
    state = replace(
        state,
        adv=adv,
        gradient=here.gradient,
        age=state.age + 1,
        best=choose_rows(better, adv, state.best),
        best_loss=torch.where(better, _number(here), state.best_loss),
        best_gradient=choose_rows(better, here.gradient, state.best_gradient),
    )
    return _apply_checkpoint(_note_result(state, here, steps), steps)


def _radius(state: State, age: Tensor, steps: int) -> Tensor:
    """Return the radius [n] of the stage that the step after `age` steps belongs to."""
    eps = torch.as_tensor(state.eps, device=age.device, dtype=torch.float32)
    factor = torch.as_tensor(RADII, device=age.device)[_stage(age, steps)]
    return eps * factor


def _stage(age: Tensor, steps: int) -> Tensor:
    first, second = stage_ends(steps)
    return (age >= first).long() + (age >= second).long()


def _starts_stage(age: Tensor, steps: int) -> Tensor:
    first, second = stage_ends(steps)
    return (age > 0) & ((age == first) | (age == second))


def _begin_stage(
    model: nn.Module, state: L1State, starts: Tensor, ball: Ball, loss: Loss, radius: Tensor
) -> L1State:
    """Return the state with the best point of each image that starts a stage, projected."""
    rows = column(starts, state.adv)
    adv = torch.where(rows, ball.project(state.best, state.clean, radius), state.adv)
    here = loss_and_grad(model, adv, state.loss_target, loss)
    support = _support(adv, state.clean)
    size = max(1, state.clean[0].numel())
    return replace(
        state,
        adv=adv,
        gradient=torch.where(rows, here.gradient, state.gradient),
        best=torch.where(rows, adv, state.best),
        best_loss=torch.where(starts, _number(here), state.best_loss),
        best_gradient=torch.where(rows, here.gradient, state.best_gradient),
        step_size=torch.where(starts, 1.0, state.step_size),
        share=torch.where(starts, support / size / SHRINK, state.share),
        support=torch.where(starts, support, state.support),
    )


def _note_result(state: L1State, here: LossAndGrad, steps: int) -> L1State:
    """Return the state with the point just reached as its result, if it is a better one."""
    loss = _number(here)
    own = _stage((state.age - 1).clamp(min=0), steps) == len(RADII) - 1
    fools = own & here.fooled(state.labels) & (loss > -torch.inf)
    higher = own & (fools == state.result_fools) & (loss > state.result_loss)
    wins = (fools & ~state.result_fools) | higher
    return replace(
        state,
        fooled=fools,
        result=choose_rows(wins, state.adv, state.result),
        result_loss=torch.where(wins, loss, state.result_loss),
        result_fools=state.result_fools | fools,
    )


def _apply_checkpoint(state: L1State, steps: int) -> L1State:
    """Return the state after a checkpoint, for images that have reached one."""
    first, second = stage_ends(steps)
    stage = _stage((state.age - 1).clamp(min=0), steps)
    begins = torch.as_tensor((0, first, second), device=stage.device)[stage]
    lengths = [max(1, first), max(1, second - first), max(1, steps - second)]
    every = [max(1, int(CHECK_EVERY * length)) for length in lengths]
    due = (state.age - begins) % torch.as_tensor(every, device=stage.device)[stage] == 0
    support = _support(state.best, state.clean)
    sparser = due & (support / state.support.clamp(min=1) < SPARSER)
    assert isinstance(state.step_size, Tensor), "made by prepare_l1"
    shorter = (state.step_size / SHRINK).clamp(min=1 / SHORTEST)
    step_size = torch.where(due, torch.where(sparser, 1.0, shorter), state.step_size)
    rows, size = column(sparser, state.adv), max(1, state.clean[0].numel() if len(due) else 1)
    return replace(
        state,
        step_size=step_size,
        share=torch.where(due, support / size / SHRINK, state.share),
        support=torch.where(due, support, state.support),
        adv=torch.where(rows, state.best, state.adv),
        gradient=torch.where(rows, state.best_gradient, state.gradient),
    )


def _support(adv: Tensor, clean: Tensor) -> Tensor:
    """Return how many values of each image were changed, [n]."""
    return ((adv - clean).flatten(1) != 0).sum(1).float()


def _number(here: LossAndGrad) -> Tensor:
    """Return the loss with NaN replaced by minus infinity."""
    return here.loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
