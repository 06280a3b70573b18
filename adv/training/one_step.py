"""Shared by objectives with a single-step attack of their own.

Catastrophic overfitting, the danger of single-step training, shows as a loss surface that bends
within one step. The second term of these losses keeps the net's answers at both ends of the step
alike, so that three passes an update resist PGD. The lesson gives the ball; its kind, steps and
pace are not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks import Linf
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.training.lesson import Lesson
from adv.training.objective import Batch, Objective
from adv.training.schedules import Schedule, value_at


class SingleStep(Objective):
    """An objective whose attack is one step of length eps, and whose second term has a weight."""

    weight: Schedule

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def term_weight(self, elapsed: float) -> float:
        return value_at(self.weight, elapsed)

    def passes(self, lesson: Lesson) -> float:
        return 2 + self.extra_passes


def input_gradient(
    net: nn.Module,
    batch: Batch,
    start: Tensor,
    term: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the gradient of the cross-entropy, and of a term, with respect to the images.

    The net is in evaluation mode, and labels are not smoothed, as in all attacks of training.

    Args:
      net: in training.
      batch: whose labels count.
      start: [n, c, h, w] the images.
      term: maps logits [n, k] to what is added to the summed cross-entropy.
    """
    with frozen(net), fused_conv_pool(net) as form, torch.enable_grad():
        images = start.detach().contiguous(memory_format=form).requires_grad_()
        logits = net(images).float()
        loss = F.cross_entropy(logits, batch.y, reduction="sum")
        loss = loss if term is None else loss + term(logits)
        return torch.autograd.grad(loss, images)[0]


def linf_radius(lesson: Lesson) -> float:
    """Return the radius of the lesson's ball; raise ValueError if it is not an Linf ball."""
    ball = lesson.attack.ball
    if not isinstance(ball, Linf):
        raise ValueError(f"this objective needs a lesson with an Linf ball, got {ball}")
    return ball.eps


def check_weight(weight: Schedule) -> None:
    """Raise ValueError unless a weight, or a schedule of weights, is 0 or more and finite."""
    for t in range(101):
        value = value_at(weight, t / 100)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a weight is 0 or more, got {weight}")
