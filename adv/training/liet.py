"""LIET: single-step training from starts that carry the label, half erased by noise (ICCV 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks.attack import default_generator
from adv.attacks.losses import hard_labels
from adv.data.datasets import Split
from adv.runtime.frozen import frozen
from adv.training.objective import Batch, Outcome
from adv.training.one_step import SingleStep, check_weight, input_gradient, linf_radius
from adv.training.schedules import Ramp, Schedule

_WIDE = 8 / 255 + 1e-9
"""Above this radius the noise is twice as wide, and the result stays outside the ball."""


@dataclass(frozen=True)
class LIET(SingleStep):
    """CE(attacked) + w JS(p(start), p(attacked)), attacked by one step from "label information".

    A single-step perturbation tells a net the label rather than the image. The start makes that
    useless: it is eps times the signs of the gradient at a grey image for the label, plus or minus
    for the whole batch, with a share of 10 to 50 % of the pixels replaced by uniform noise. JS is
    the Jensen-Shannon divergence. Above eps 8/255 the noise has twice the radius and the result is
    not projected. Published with averaged weights and a wrong mass of 0.6, split at random between
    the wrong classes; here the recipe's `smoothing` splits it evenly between all classes.

    Args:
      weight: w, a number or a schedule of 0 or more; published: from 0 to 100, with 100 classes
        200.
      least: smallest share of replaced pixels, in [0, most].
      most: largest share, in [least, 1].
      refresh: number of updates after which the gradient at the grey image is computed anew.

    Raises:
      ValueError: a setting is out of its range.
    """

    weight: Schedule = field(default_factory=lambda: Ramp(0.0, 100.0))
    least: float = 0.1
    most: float = 0.5
    refresh: int = 20
    extra_passes = 1.0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 0 <= self.least <= self.most <= 1:
            raise ValueError(
                "the share of replaced pixels lies in [0, 1], least before most, "
                f"got {self.least} and {self.most}"
            )
        if self.refresh < 1:
            raise ValueError(f"refresh is 1 update or more, got {self.refresh}")

    def memory(self, data: Split, classes: int) -> dict[str, Tensor]:
        shape = (classes, *data.images.shape[1:])
        return {"label_signs": torch.zeros(shape, device=data.labels.device)}

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the attacked images [n, c, h, w] and, after them, their starts."""
        eps = linf_radius(batch.lesson)
        signs = batch.recall("label_signs")
        if batch.number % self.refresh == 0:
            signs.copy_(_label_signs(net, signs))
        start = self._start(batch, signs[hard_labels(batch.y)].to(batch.x))
        moved = start + eps * input_gradient(net, batch, start).sign()
        wide = eps > _WIDE
        ball = batch.lesson.attack.ball
        return torch.cat([moved.clamp(0, 1) if wide else ball.project(moved, batch.x), start])

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        attacked, start = adv.split(len(batch.x))
        before, after = net(start).float(), net(attacked).float()
        term = jensen_shannon(before, after).mean()
        loss = batch.cross_entropy(after) + self.term_weight_at(batch) * term
        return Outcome(loss, after[:0], after, attacked)

    def _start(self, batch: Batch, signs: Tensor) -> Tensor:
        """Return the starting points, given the signs [n, c, h, w] of each image's label."""
        generator, eps = batch.generator or default_generator(), linf_radius(batch.lesson)
        share, coin = torch.rand(2, generator=generator).tolist()
        share = self.least + (self.most - self.least) * share
        replaced = torch.rand(signs.shape, generator=generator).to(signs) < share
        noise = 2 * torch.rand(signs.shape, generator=generator).to(signs) - 1
        noise = noise * (2 if eps > _WIDE else 1)
        change = eps * torch.where(replaced, noise, signs)
        return (batch.x + (change if coin < 0.5 else -change)).clamp(0, 1)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence [n] of two softmaxes, given their logits [n, k]."""
    p, q = first.log_softmax(1), second.log_softmax(1)
    middle = torch.logaddexp(p, q) - math.log(2)
    return ((p.exp() * (p - middle)).sum(1) + (q.exp() * (q - middle)).sum(1)) / 2


def _label_signs(net: nn.Module, signs: Tensor) -> Tensor:
    """Return the signs of the gradient of each class's cross-entropy at a grey image."""
    with frozen(net), torch.enable_grad():
        grey = torch.full_like(signs, 0.5).requires_grad_()
        labels = torch.arange(len(signs), device=signs.device)
        loss = F.cross_entropy(net(grey).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, grey)[0].sign()
