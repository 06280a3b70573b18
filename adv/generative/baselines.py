"""What a generator has to beat: a Gaussian for each class, and real images mixed.

Gowal et al. 2021 (arXiv:2110.09468, section 5) found that even draws from a Gaussian fitted to each
class help robust accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from adv.data.datasets import Split
from adv.generative.pixel_range import find_pixel_format

Draw = Callable[[Tensor, Generator], Tensor]
"""Labels [n], a generator on the CPU, to images [n, 3, 32, 32], bytes."""


@dataclass(frozen=True)
class Gaussian:
    """Each class as a normal distribution of its pixels, cut off at black and white.

    Args:
      rank: None for the full sample covariance; else its first so many principal directions, with
        no variance in the others.

    Raises:
      ValueError: a rank below 1.
    """

    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"a covariance has rank 1 or more, or None, got {self.rank}")

    def fit(self, real: Split) -> Draw:
        """The draw; a class of one image is drawn as that image."""
        pixel_format = find_pixel_format(real.images)
        pixels = pixel_format.to_floats(real.images).flatten(1).cpu()
        labels = real.labels.cpu()
        parts = {int(c): _gaussian(pixels[labels == c], self.rank) for c in labels.unique()}

        def draw(y: Tensor, generator: Generator) -> Tensor:
            drawn = torch.empty(len(y), pixels.shape[1])
            for c in y.unique():
                mean, ways = parts[int(c)]
                rows = torch.nonzero(y == c).flatten()
                weights = torch.randn(len(rows), len(ways), generator=generator)
                drawn[rows] = mean + weights @ ways
            return pixel_format.to_bytes(
                drawn.view(-1, pixel_format.channels, pixel_format.side, pixel_format.side)
            )

        return draw


@dataclass(frozen=True)
class Mixup:
    """Two images of one class, added with weights l and 1 - l, l ~ Beta(alpha, alpha).

    Zhang et al. 2018 mix classes and their labels too; here a label stays one class, as an .npz
    has them.

    Raises:
      ValueError: alpha is not above 0.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is above 0, got {self.alpha}")

    def fit(self, real: Split) -> Draw:
        """The draw."""
        images, labels = real.images.cpu(), real.labels.cpu()
        members = {int(c): torch.nonzero(labels == c).flatten() for c in labels.unique()}

        def draw(y: Tensor, generator: Generator) -> Tensor:
            seed = int(torch.randint(2**62, (1,), generator=generator))
            share = np.random.default_rng(seed).beta(self.alpha, self.alpha, len(y))
            chance = torch.rand(2, len(y), generator=generator)
            pairs = torch.empty(2, len(y), dtype=torch.int64)
            for c in y.unique():
                own, rows = members[int(c)], y == c
                pairs[:, rows] = own[(chance[:, rows] * len(own)).long()]
            weight = torch.from_numpy(share).float()[:, None, None, None]
            mixed = weight * images[pairs[0]] + (1 - weight) * images[pairs[1]]
            return mixed.round().byte()

        return draw


def _gaussian(pixels: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """The mean [d], and directions [k, d]: normal weights on them have the wanted covariance."""
    mean = pixels.mean(0)
    # Weights on the centred images themselves: the sample covariance, without ever making it.
    ways = (pixels - mean) / math.sqrt(max(1, len(pixels) - 1))
    if rank is None or rank >= min(ways.shape):
        return mean, ways
    wide = len(ways) >= ways.shape[1]
    gram = (ways.T @ ways if wide else ways @ ways.T).double()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[-rank:].clamp(min=0), vectors[:, -rank:]
    if wide:
        return mean, (vectors * values.sqrt()).T.float()
    return mean, (vectors.T @ ways.double()).float()
