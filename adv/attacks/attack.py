"""What an attack is. An iterative one is a start and a step; the plain loop over them is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks.ball import Ball
from adv.modes import frozen

_DEFAULT = torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class State:
    """How far an attack on n images has come.

    `clean` and `adv` are [n, c, h, w] float32 in [0, 1], `labels` [n]; `fooled` [n] says which were
    misclassified at the point before the last step; `generator` draws what later steps need.
    """

    clean: Tensor
    labels: Tensor
    adv: Tensor
    fooled: Tensor
    generator: torch.Generator

    def keep(self, mask: Tensor) -> State:
        """The same for the images where `mask` [n] is true (or at the given indices)."""
        parts = {name: getattr(self, name)[mask] for name in ("clean", "labels", "adv", "fooled")}
        return replace(self, **parts)


class Attack(ABC):
    """`attack(model, x, y) -> x_adv`: settings in the constructor, the problem in the call.

    `ball` is the set it searches.
    """

    ball: Ball

    @abstractmethod
    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images in the ball around `x` that the model should get wrong.

        Args:
          model: maps [n, c, h, w] in [0, 1] to logits [n, k]; attacked in evaluation mode, its
            parameters, gradients, statistics and modes come out as they went in.
          x: [n, c, h, w] float in [0, 1].
          y: [n] true labels.
          generator: a CPU generator for random starts; without one, a generator of this module is
            used (seeded at import, never the global one).

        Returns:
          [n, c, h, w] float32 in [0, 1], detached.

        Raises:
          ValueError: images outside [0, 1] or not finite, or shapes that do not fit.
        """


class Iterative(Attack):
    """An attack that is a start and a step. Whoever drives the loop decides when it is done."""

    steps: int

    @abstractmethod
    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        """Where the attack on `x` begins."""

    @abstractmethod
    def step(self, model: nn.Module, state: State) -> State:
        """One step further; the caller has frozen the model."""

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        check_images(x, y)
        if self.ball.eps == 0 or len(x) == 0:
            return x.detach().float().clone()
        with frozen(model):
            state = self.start(x.detach().float(), y, generator or _DEFAULT)
            for _ in range(self.steps):
                state = self.step(model, state)
        return state.adv


def begin(clean: Tensor, labels: Tensor, adv: Tensor, generator: torch.Generator) -> State:
    """The state before the first step."""
    return State(clean, labels, adv, torch.zeros_like(labels, dtype=torch.bool), generator)


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the summed cross-entropy with respect to the images alone.

    Summed, not averaged, so that an image's gradient does not depend on the batch around it. Where
    it is not a number it counts as 0: an image must stay an image.

    Returns:
      The gradient [n, c, h, w], and [n] booleans: which images are misclassified here.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x).float()
        loss = F.cross_entropy(logits, y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
    return gradient.nan_to_num(0.0), logits.detach().argmax(1) != y


def check_images(x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless `x` are n images in [0, 1] and `y` n labels."""
    if not x.is_floating_point():
        raise ValueError(f"images are floats in [0, 1], got {x.dtype}: divide bytes by 255")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{len(x)} images need as many labels, got shape {tuple(y.shape)}")
    if len(x):
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"images must lie in [0, 1], got {low:g} to {high:g}: "
                "put the normalisation into the model"
            )
