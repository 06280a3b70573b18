"""The set an attacker may choose from: a norm ball around an image, inside the pixel range [0, 1].

The norm is a value: an attack asks its ball to project, to sample and to ascend.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

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

    def each(self, eps: Tensor) -> Self:
        """A ball like this one whose radius differs from image to image: `eps` [n], 0 or more.

        For the steps of a batch in which several attacks meet. It is bound to these n images, and
        its `eps` is a tensor [n, 1, 1, 1].
        """
        ball = copy.copy(self)
        object.__setattr__(ball, "eps", eps[:, None, None, None])
        return ball

    @abstractmethod
    def project(self, adv: Tensor, clean: Tensor) -> Tensor:
        """The point of the ball around `clean` and of [0, 1] to which `adv` [n, ...] is brought."""

    @abstractmethod
    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Points drawn uniformly from the balls around `clean` [n, ...], clipped to [0, 1].

        The draw comes from the CPU, so that every device starts from the same points.
        """

    @abstractmethod
    def rim(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Points at distance eps from `clean` [n, ...], clipped to [0, 1]; APGD begins there."""

    @abstractmethod
    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        """`adv` moved by `step` (or one for each image, [n, 1, ...]) along the steepest ascent.

        Where `gradient` is not a number it counts as 0: an image must stay an image.
        """

    @abstractmethod
    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        """The norm of each difference, [n]."""


@dataclass(frozen=True)
class Linf(Ball):
    """Every pixel changes by at most `eps`."""

    def project(self, adv: Tensor, clean: Tensor) -> Tensor:
        change = adv - clean
        if isinstance(self.eps, Tensor):
            change = change.minimum(self.eps).maximum(-self.eps)  # clamp is slow with a column
        else:
            change.clamp_(-self.eps, self.eps)
        return change.add_(clean).clamp_(0, 1)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.rand(clean.shape, generator=generator).to(clean)
        return torch.clamp(clean + self.eps * (2 * noise - 1), 0, 1)

    def rim(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(clean.shape, generator=generator).to(clean) - 1
        return torch.clamp(clean + self.eps * noise / (_largest(noise) + TINY), 0, 1)

    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        sign = gradient.sign()  # of what is not a number: 0
        if isinstance(step, Tensor):
            return adv + sign.mul_(step)
        return torch.add(adv, sign, alpha=step)

    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        return (adv - clean).flatten(1).abs().amax(1)


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean length of the change is at most `eps`."""

    def project(self, adv: Tensor, clean: Tensor) -> Tensor:
        change = adv - clean
        factor = (self.eps * (_length(change) + TINY).reciprocal()).clamp(max=1)
        return change.mul_(factor).add_(clean).clamp_(0, 1)

    def sample(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        direction = torch.randn(clean.shape, generator=generator).to(clean)
        radius = torch.rand(len(clean), generator=generator).to(clean)
        radius = self.eps * radius ** (1 / max(1, clean[0].numel())) if len(clean) else radius
        radius = radius.reshape(-1, *[1] * (clean.dim() - 1))
        return torch.clamp(clean + radius * direction / (_length(direction) + TINY), 0, 1)

    def rim(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        direction = torch.randn(clean.shape, generator=generator).to(clean)
        return torch.clamp(clean + self.eps * direction / (_length(direction) + TINY), 0, 1)

    def ascend(self, adv: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        # To a largest element of 1 first: the square of a saturated net's gradient underflows.
        gradient = gradient.nan_to_num(0.0)
        gradient = gradient / _largest(gradient).clamp(min=SMALLEST)
        return adv + step * gradient / (_length(gradient) + TINY)

    def distance(self, adv: Tensor, clean: Tensor) -> Tensor:
        return _length(adv - clean).flatten()


def column(values: Tensor, images: Tensor) -> Tensor:
    """One value for each sample, [n], shaped to multiply it."""
    return values.reshape(-1, *[1] * (images.dim() - 1))


def _length(change: Tensor) -> Tensor:
    """Euclidean length of each sample, shaped to divide it."""
    return column(change.flatten(1).norm(dim=1), change)


def _largest(change: Tensor) -> Tensor:
    """Largest absolute element of each sample, shaped to divide it."""
    return column(change.flatten(1).abs().amax(1), change)
