"""Gradient alignment (Andriushchenko and Flammarion 2020): alike gradients all over the ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from adv.attacks.attack import default_generator
from adv.training.objective import Batch, Objective, Outcome
from adv.training.one_step import check_weight
from adv.training.schedules import Schedule, value_at

_TINY = 1e-12


@dataclass(frozen=True)
class GradAlign(Objective):
    """CE(attacked) + w (1 - cos(g(x), g(x + noise))), with g the gradient of CE at an image.

    The noise is uniform in the ball. Both gradients are differentiated, which takes about three
    times as long as the lesson's attack alone; images without a gradient are left out of the mean.
    Published with `Curriculum(kind="fgsm")`.

    Args:
      weight: w, a number or a schedule of 0 or more; published: 0.2 at 8/255.

    Raises:
      ValueError: a weight is negative or not finite.
    """

    weight: Schedule = 0.2
    extra_passes = 2.0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def term_weight(self, elapsed: float) -> float:
        return value_at(self.weight, elapsed)

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the attacked images [n, c, h, w] and, after them, images with noise."""
        noisy = batch.lesson.attack.ball.sample(batch.x, batch.generator or default_generator())
        return torch.cat([batch.attack(net), noisy])

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        attacked, noisy = adv.split(len(batch.x))
        logits = net(attacked).float()
        here, there = (_gradient(net, x, batch.y).flatten(1) for x in (batch.x, noisy))
        norms = here.norm(dim=1) * there.norm(dim=1)
        cosine = (here * there).sum(1) / norms.clamp(min=_TINY)
        has_gradient = norms > _TINY
        term = ((1 - cosine) * has_gradient).sum() / has_gradient.sum().clamp(min=1)
        loss = batch.cross_entropy(logits) + self.term_weight_at(batch) * term
        return Outcome(loss, logits[:0], logits, attacked)


def _gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of each image's cross-entropy, which can itself be differentiated."""
    # The average of the weights passes batches without gradients; and the derivative of fused
    # attention has none.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(net(x).float(), y, reduction="sum")
        return torch.autograd.grad(loss, x, create_graph=True)[0]
