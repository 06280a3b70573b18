"""Adversarial weight perturbation (Wu et al., NeurIPS 2020): learn where the weights are worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.training.lesson import Lesson
from adv.training.objectives import Batch, Objective, Outcome
from adv.training.optimizers import undecayed

_TINY = 1e-20


@dataclass(frozen=True)
class AWP(Objective):
    """The gradient of an objective where one step of ascent has taken the weights.

    At the attacked images, each weight w with gradient g goes to w + gamma ||w|| g / ||g||, layer
    by layer; there the gradient is taken, and the weights are put back as they were. Only tensors
    of two dimensions or more move: no bias, no scale of a norm, and nothing that a module calls
    `undecayed`. The ascent leaves no trace in BatchNorm's statistics; the pass that learns does.

    Args:
      objective: what to minimise, `Madry()` or `TRADES()` as published.
      gamma: length of the ascent relative to the weights; published: 0.01, with TRADES 0.005.
      warmup: share of the training before it begins, in [0, 1].

    Raises:
      ValueError: a setting is out of its range.
    """

    objective: Objective
    gamma: float = 0.01
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma lies in [0, 1), got {self.gamma}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"the warm-up is a share of the training in [0, 1], got {self.warmup}")

    def attacked(self, net: nn.Module, batch: Batch) -> Tensor:
        return self.objective.attacked(net, batch)

    def outcome(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        return self.objective.outcome(net, batch, adv)

    def phase(self, elapsed: float) -> int:
        return int(elapsed >= self.warmup)

    def learn(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        if not self.phase(batch.elapsed):
            return self.objective.learn(net, batch, adv)
        weights = _moved(net)
        with _buffers_kept(net):
            ascent = self.outcome(net, batch, adv).loss
            slopes = torch.autograd.grad(ascent, weights, allow_unused=True)
        with _lifted(weights, slopes, self.gamma):
            outcome = self.outcome(net, batch, adv)
            outcome.loss.backward()
        return outcome

    def share(self, lesson: Lesson) -> float:
        return self.objective.share(lesson)

    def passes(self, lesson: Lesson) -> float:
        again = 1 + self.objective.extra
        return self.objective.passes(lesson) + (1 - self.warmup) * again


def _moved(net: nn.Module) -> list[nn.Parameter]:
    spared = undecayed(net)
    return [w for w in net.parameters() if w.requires_grad and w.dim() > 1 and id(w) not in spared]


@contextmanager
def _buffers_kept(net: nn.Module) -> Iterator[None]:
    kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)


@contextmanager
def _lifted(
    weights: Sequence[nn.Parameter], slopes: Sequence[Tensor | None], gamma: float
) -> Iterator[None]:
    """Each weight moved along its slope by gamma times its length; put back bit for bit."""
    kept = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                if slope is not None:
                    weight.add_(slope * (gamma * weight.norm() / (slope.norm() + _TINY)))
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
