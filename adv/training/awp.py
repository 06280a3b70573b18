"""Adversarial weight perturbation (Wu et al., NeurIPS 2020): train where the weights are worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.data.datasets import Split
from adv.training.lesson import Lesson
from adv.training.objective import Batch, Objective, Outcome
from adv.training.optimizers import find_undecayed

_TINY = 1e-20


@dataclass(frozen=True)
class AWP(Objective):
    """Take the gradient of an objective at weights that one step of ascent has perturbed.

    On the attacked images, each weight w with gradient g moves to w + gamma ||w|| g / ||g||, layer
    by layer; the gradient of the objective is taken there, and the weights are restored. Only
    tensors of two dimensions or more move: no bias, no scale of a norm, and nothing that a module
    lists in `undecayed`. The ascent leaves the BatchNorm statistics alone; the descent does not.

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

    def attack(self, net: nn.Module, batch: Batch) -> Tensor:
        return self.objective.attack(net, batch)

    def forward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        return self.objective.forward(net, batch, adv)

    def phase(self, elapsed: float) -> int | None:
        inner = self.objective.phase(elapsed)
        return None if inner is None else 2 * inner + self._has_begun(elapsed)

    def term_weight(self, elapsed: float) -> float:
        return self.objective.term_weight(elapsed)

    def memory(self, data: Split, classes: int) -> dict[str, Tensor]:
        return self.objective.memory(data, classes)

    def restore_memory(self, memory: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
        self.objective.restore_memory(memory, saved)

    def remembers_images(self) -> bool:
        return self.objective.remembers_images()

    def _has_begun(self, elapsed: float) -> bool:
        return elapsed >= self.warmup

    def backward(self, net: nn.Module, batch: Batch, adv: Tensor) -> Outcome:
        if not self._has_begun(batch.elapsed):
            return self.objective.backward(net, batch, adv)
        weights = _perturbable_weights(net)
        with _restore_buffers(net):
            loss = self.forward(net, batch, adv).loss
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        with _perturb(weights, gradients, self.gamma):
            outcome = self.forward(net, batch, adv)
            outcome.loss.backward()
        return outcome

    def attacked_share(self, lesson: Lesson) -> float:
        return self.objective.attacked_share(lesson)

    def passes(self, lesson: Lesson) -> float:
        ascent = 1 + self.objective.extra_passes
        return self.objective.passes(lesson) + (1 - self.warmup) * ascent


def _perturbable_weights(net: nn.Module) -> list[nn.Parameter]:
    fixed = find_undecayed(net)
    return [w for w in net.parameters() if w.requires_grad and w.dim() > 1 and id(w) not in fixed]


@contextmanager
def _restore_buffers(net: nn.Module) -> Iterator[None]:
    copies = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, before in copies:
            buffer.copy_(before)


@contextmanager
def _perturb(
    weights: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], gamma: float
) -> Iterator[None]:
    """Move each weight along its gradient by gamma times its norm; restore it bit for bit."""
    copies = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    weight.add_(gradient * (gamma * weight.norm() / (gradient.norm() + _TINY)))
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, copies, strict=True):
                weight.copy_(before)
