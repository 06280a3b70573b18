"""What an attack is. An iterative one is a start and a step; the plain loop over them is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from adv.attacks.ball import Ball
from adv.attacks.losses import LOSSES, Loss, against, correct, seen_clean
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool

_DEFAULT = torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class State:
    """How far an attack on n images has come. An attack that must know more extends it.

    Every tensor has a row for each image, so that images may leave or change their batch. `clean`
    and `adv` are [n, c, h, w] float32 in [0, 1]; `labels` are [n] classes, or [n, k] probabilities;
    `against` is what the loss compares the logits with (`adv.attacks.losses`); `fooled` [n] says
    which were misclassified where the model was last asked; `generator` draws what steps need.
    """

    clean: Tensor
    labels: Tensor
    adv: Tensor
    against: Tensor
    fooled: Tensor
    generator: torch.Generator

    def keep(self, mask: Tensor) -> Self:
        """The same for the images where `mask` [n] is true (or at the given indices)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        rows: dict[str, Any] = {k: v[mask] for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **rows)


class Attack(ABC):
    """`attack(model, x, y) -> x_adv`: settings in the constructor, the problem in the call.

    `ball` is the set it searches.
    """

    ball: Ball

    def suits(self, classes: int) -> bool:
        """Whether the attack is defined for a net that tells so many classes."""
        return True

    @abstractmethod
    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images in the ball around `x` that the model should get wrong.

        Args:
          model: maps [n, c, h, w] in [0, 1] to logits [n, k]; attacked in evaluation mode, its
            parameters, gradients, statistics and modes come out as they went in.
          x: [n, c, h, w] float in [0, 1].
          y: [n] true labels, or [n, k] their probabilities (mixed images).
          generator: a CPU generator for random starts; without one, a generator of this module is
            used (seeded at import, never the global one).

        Returns:
          [n, c, h, w] float32 in [0, 1], detached.

        Raises:
          ValueError: images outside [0, 1] or not finite, or shapes that do not fit.
        """


class Iterative(Attack):
    """An attack that is a start and a step. Whoever drives the loop decides when it is done.

    `mixes` says that a step takes a `ball`, and a `step_size` if it has one, with a value for each
    image (`Ball.each`; [n, 1, 1, 1]), so that runs in several balls may share a batch.
    """

    steps: int
    mixes: ClassVar[bool] = False

    @abstractmethod
    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        """Where the attack on `x` begins; asks no model, so that all random starts are cheap."""

    def aim(self, model: nn.Module, state: State) -> State:
        """What the first step must know of the model; most attacks need nothing."""
        return state

    @abstractmethod
    def step(self, model: nn.Module, state: State) -> State:
        """One step further; the caller has frozen the model."""

    def result(self, state: State) -> Tensor:
        """The images that the attack gives, if it ends here."""
        return state.adv

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        check_images(x, y)
        if self.ball.eps == 0 or len(x) == 0:
            return x.detach().float().clone()
        clean = x.detach().float()
        with frozen(model), fused_conv_pool(model) as form:
            if x.dim() == 4:
                clean = clean.contiguous(memory_format=form)
            state = self.aim(model, self.start(clean, y, generator or _DEFAULT))
            for _ in range(self.steps):
                state = self.step(model, state)
        adv = self.result(state)
        return adv.contiguous() if x.is_contiguous() else adv


def begin(clean: Tensor, labels: Tensor, adv: Tensor, generator: torch.Generator) -> State:
    """The state before the first step."""
    fooled = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    return State(clean, labels, adv, labels, fooled, generator)


@dataclass(frozen=True)
class Slope:
    """What a model says at n images: the loss [n], its gradient [n, c, h, w], the logits [n, k]."""

    loss: Tensor
    gradient: Tensor
    logits: Tensor

    def fooled(self, labels: Tensor) -> Tensor:
        """[n] booleans: which images are misclassified here."""
        return ~correct(self.logits, labels)


def slope(model: nn.Module, x: Tensor, against: Tensor, loss: Loss = "ce") -> Slope:
    """A loss at the images `x` and its gradient with respect to them alone.

    The losses are summed, not averaged, so that an image's gradient does not depend on the batch
    around it. It may be not a number; `Ball.ascend` takes that for 0.

    Raises:
      ValueError: the model passes no gradient to its images.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x).float()
        losses = LOSSES[loss](logits, against)
        if not losses.requires_grad:
            raise ValueError("the net passes no gradient to its images: use Square or NES")
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return Slope(losses.detach(), gradient, logits.detach())


def aimed(model: nn.Module, state: State, loss: Loss, target: int | None = None) -> State:
    """The state with what its loss compares the logits with (`adv.attacks.losses.against`)."""
    if not seen_clean(loss):
        return state
    with torch.no_grad():
        clean = model(state.clean).float()
    return replace(state, against=against(loss, state.labels, clean, target))


def check_images(x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless `x` are n images in [0, 1] and `y` n labels or rows of them."""
    if not x.is_floating_point():
        raise ValueError(f"images are floats in [0, 1], got {x.dtype}: divide bytes by 255")
    mixed = y.dim() == 2 and y.is_floating_point()
    if y.shape[:1] != x.shape[:1] or not (y.dim() == 1 or mixed):
        raise ValueError(f"{len(x)} images need as many labels, got shape {tuple(y.shape)}")
    if len(x):
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"images must lie in [0, 1], got {low:g} to {high:g}: "
                "put the normalisation into the model"
            )
