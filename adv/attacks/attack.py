"""The interface of an attack, and the plain loop over the steps of an iterative one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from adv.attacks.ball import Ball
from adv.attacks.inputs import LabelCheck, check_inputs
from adv.attacks.select_rows import take_rows
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool

DEFAULT_SEED = 0


def default_generator() -> torch.Generator:
    """Return a new CPU generator seeded with `DEFAULT_SEED`.

    An attack that is called without a generator uses it, so equal calls on a deterministic net give
    equal images; a net with random layers goes on drawing from its own stream. Pass a generator in
    a loop over batches or over restarts, or each of them gets the same random numbers.
    """
    return torch.Generator().manual_seed(DEFAULT_SEED)


@dataclass(frozen=True)
class State:
    """The state of an attack on n images. An attack that needs more extends it.

    Every tensor has one row per image, so that images can be taken out and batches joined.

    Args:
      clean: [n, c, h, w] the images under attack, float32 in [0, 1].
      labels: [n] classes, or [n, k] probabilities.
      adv: [n, c, h, w] the current adversarial images, float32 in [0, 1].
      loss_target: what the loss compares the logits with (`adv.attacks.losses.loss_target`).
      fooled: [n] booleans, whether the model was wrong when it was last queried.
      generator: source of the random numbers that steps draw.
      eps: radius of the ball; one number for all images, or [n].
      step_size: length of a step in pixel units; one number for all images, or [n].
    """

    clean: Tensor
    labels: Tensor
    adv: Tensor
    loss_target: Tensor
    fooled: Tensor
    generator: torch.Generator
    eps: float | Tensor
    step_size: float | Tensor

    def keep(self, rows: Tensor) -> Self:
        """Return the state of some images: a mask [n] of booleans, or indices."""
        rows = rows.nonzero().flatten() if rows.dtype == torch.bool else rows
        kept: dict[int, Any] = {}  # by identity: fields that share a tensor go on sharing one
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        for value in tensors.values():
            if id(value) not in kept:
                kept[id(value)] = take_rows(value, rows)
        return replace(self, **{name: kept[id(value)] for name, value in tensors.items()})

    def per_example(self) -> Self:
        """Return the same state with `eps` and `step_size` as float32 tensors [n]."""
        return replace(
            self, eps=self._per_example(self.eps), step_size=self._per_example(self.step_size)
        )

    def _per_example(self, value: float | Tensor) -> Tensor:
        if isinstance(value, Tensor):
            return value
        return torch.full((len(self.labels),), float(value), device=self.labels.device)


class Attack(ABC):
    """An attack: `attack(model, x, y) -> x_adv`, with its settings in the constructor.

    `ball` is the set of allowed perturbations.
    """

    ball: Ball
    budget_setting: ClassVar[str | None] = None
    """Name of the setting that makes the attack longer, such as "steps"; None if there is none."""

    def supports(self, classes: int) -> bool:
        """Return whether the attack is defined for a net with this many classes."""
        return True

    @abstractmethod
    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return images in the ball around `x` that the model should misclassify.

        Args:
          model: maps [n, c, h, w] in [0, 1] to logits [n, k]. It is attacked in evaluation mode;
            its parameters, gradients, statistics and modes are left as they were.
          x: [n, c, h, w] float in [0, 1].
          y: [n] true labels of any whole-number type, or [n, k] their probabilities (mixed images).
          generator: a CPU generator for random starts and choices; None: `default_generator()`,
            so that equal calls on a deterministic net give equal images. Pass one in a loop over
            batches or over restarts. The global generator is never used.

        Returns:
          [n, c, h, w] float32 in [0, 1], detached.

        Raises:
          ValueError: images outside [0, 1] or not finite, labels that are no classes of the model,
            or shapes that do not match.
        """


class Iterative(Attack):
    """An attack made of `start`, `prepare` and repeated `step`; the caller drives the loop.

    A step reads its radius and step size from the state, never from `self`, so that images under
    attacks of different radii can share a batch and a captured CUDA graph.
    """

    steps: int
    budget_setting: ClassVar[str | None] = "steps"
    unused_by_step: ClassVar[frozenset[str]] = frozenset()
    """Settings that `step` does not read (of `ball`: its radius). See `step_key`."""

    @abstractmethod
    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        """Return the initial state for images `x`; it does not query the model."""

    def prepare(self, model: nn.Module, state: State) -> State:
        """Return the state with what the first step needs from the model; often nothing."""
        return state

    @abstractmethod
    def step(self, model: nn.Module, state: State) -> State:
        """Return the state after one more step; the caller has frozen the model."""

    def result(self, state: State) -> Tensor:
        """Return the adversarial images [n, c, h, w] if the attack ends in this state."""
        return state.adv

    def step_key(self) -> Hashable:
        """Return a value that is equal for attacks whose steps do the same to the same state.

        It holds every setting but those in `unused_by_step`.
        """
        if not self.unused_by_step:
            return self
        own = fields(self)  # type: ignore[arg-type]  # every attack is a dataclass
        names = {field.name for field in own} - self.unused_by_step
        settings = tuple((name, getattr(self, name)) for name in sorted(names))
        return type(self), type(self.ball), settings

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        clean, y = check_inputs(x, y)
        if self.ball.eps == 0 or len(x) == 0:
            return clean.clone()
        with frozen(model), fused_conv_pool(model) as form:
            if x.dim() == 4:
                clean = clean.contiguous(memory_format=form)
            asked = LabelCheck(model, y)
            state = self.prepare(asked, self.start(clean, y, generator or default_generator()))
            for _ in range(self.steps):
                state = self.step(asked, state)
        adv = self.result(state)
        return adv.contiguous() if x.is_contiguous() else adv


def initial_state(
    clean: Tensor,
    labels: Tensor,
    adv: Tensor,
    generator: torch.Generator,
    *,
    eps: float,
    step_size: float = 0.0,
) -> State:
    """Return the state before the first step, in which no image is fooled yet.

    Args:
      clean: [n, c, h, w] the images under attack, float32 in [0, 1].
      labels: [n] classes, or [n, k] probabilities; the loss compares the logits with them.
      adv: [n, c, h, w] the starting points, float32 in [0, 1].
      generator: source of the random numbers that steps draw.
      eps: radius of the ball.
      step_size: length of a step in pixel units; 0 for an attack that has none.
    """
    fooled = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    return State(clean, labels, adv, labels, fooled, generator, eps, step_size)
