"""Norm balls around an image, intersected with the pixel range [0, 1].

The norm is a value, not a subclass of the attack: an attack calls its ball to project, to sample
and to take a step of steepest ascent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

TINY = 1e-12
SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Ball(ABC):
    """A ball of radius `eps` >= 0, in units of the pixel range [0, 1].

    Raises:
      ValueError: `eps` is negative or not finite.
    """

    eps: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"eps is a radius of 0 or more, got {self.eps}")

    @abstractmethod
    def project(self, adv: Tensor, clean: Tensor, eps: float | Tensor | None = None) -> Tensor:
        """Project `adv` [n, ...] onto the ball around `clean` and onto [0, 1].

        `eps` is one radius for all images, or [n] one for each; None: that of the ball.
        """

    @abstractmethod
    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw points uniformly from the balls around `clean` [n, ...], clipped to [0, 1].

        The random numbers are drawn on the CPU, so that every device starts from the same points.
        """

    @abstractmethod
    def sample_sphere(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw points at distance eps from `clean` [n, ...], clipped to [0, 1], as APGD does."""

    @abstractmethod
    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        """Move `adv` [n, ...] by a length of `step` along the steepest ascent in this norm.

        `step` is one length for all images, or [n] one for each. A gradient of NaN counts as 0,
        so that the result is still an image.
        """

    @abstractmethod
    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        """Return the norm [n] of each difference."""


def check_ball(ball: object) -> None:
    """Raise TypeError unless an attack was given a ball; a bare radius names no norm."""
    if not isinstance(ball, Ball):
        raise TypeError(f"ball is Linf(eps), L2(eps) or L1(eps), got {ball!r}")


@dataclass(frozen=True)
class Linf(Ball):
    """The ball in which every pixel changes by at most `eps`."""

    def project(self, adv: Tensor, clean: Tensor, eps: float | Tensor | None = None) -> Tensor:
        eps = self.eps if eps is None else eps
        change = adv - clean
        if isinstance(eps, Tensor):
            eps = column(eps, clean)
            change = change.minimum(eps).maximum(-eps)  # clamp is slow with a column
        else:
            change.clamp_(-eps, eps)
        return change.add_(clean).clamp_(0, 1)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean.shape, generator=generator).to(clean)
        return torch.clamp(clean + self.eps * (2 * noise - 1), 0, 1)

    def sample_sphere(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(clean.shape, generator=generator).to(clean) - 1
        return torch.clamp(clean + self.eps * noise / (_largest(noise) + TINY), 0, 1)

    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        sign = gradient.sign()  # the sign of NaN is 0
        if isinstance(step, Tensor):
            return adv + sign.mul_(column(step, adv))
        return torch.add(adv, sign, alpha=step)

    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        return (adv - clean).flatten(1).abs().amax(1)


@dataclass(frozen=True)
class L2(Ball):
    """The ball in which the Euclidean length of the change is at most `eps`."""

    def project(self, adv: Tensor, clean: Tensor, eps: float | Tensor | None = None) -> Tensor:
        eps = column(self.eps if eps is None else eps, clean)
        change = adv - clean
        factor = ((_length(change) + TINY).reciprocal() * eps).clamp(max=1)
        return change.mul_(factor).add_(clean).clamp_(0, 1)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        direction = torch.randn(clean.shape, generator=generator).to(clean)
        radius = torch.rand(len(clean), generator=generator).to(clean)
        radius = self.eps * radius ** (1 / max(1, clean[0].numel())) if len(clean) else radius
        radius = radius.reshape(-1, *[1] * (clean.dim() - 1))
        return torch.clamp(clean + radius * direction / (_length(direction) + TINY), 0, 1)

    def sample_sphere(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        direction = torch.randn(clean.shape, generator=generator).to(clean)
        return torch.clamp(clean + self.eps * direction / (_length(direction) + TINY), 0, 1)

    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        # Divide by the largest element first: the squares of a saturated net's gradient underflow.
        gradient = gradient.nan_to_num(0.0)
        gradient = gradient / _largest(gradient).clamp(min=SMALLEST)
        return adv + column(step, adv) * gradient / (_length(gradient) + TINY)

    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        return _length(adv - clean).flatten()


@overload
def column(values: Tensor, images: Tensor) -> Tensor: ...
@overload
def column(values: float | Tensor, images: Tensor) -> float | Tensor: ...
def column(values: float | Tensor, images: Tensor) -> float | Tensor:
    """Reshape one value per image, [n], so that it broadcasts over the images [n, ...].

    A number that holds for all images is returned as it is.
    """
    if isinstance(values, Tensor):
        return values.reshape(-1, *[1] * (images.dim() - 1))
    return values


def _length(change: Tensor) -> Tensor:
    """Return the Euclidean length of each sample, shaped to broadcast over it."""
    return column(change.flatten(1).norm(dim=1), change)


def _largest(change: Tensor) -> Tensor:
    """Return the largest absolute element of each sample, shaped to broadcast over it."""
    return column(change.flatten(1).abs().amax(1), change)
