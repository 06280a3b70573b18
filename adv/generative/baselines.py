"""Baselines for a generator: a Gaussian for each class, and mixtures of two real images.

Gowal et al. 2021 (arXiv:2110.09468, section 5) found that even samples of a Gaussian fitted to each
class improve robust accuracy.
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
"""Maps labels [n] and a generator on the CPU to images [n, c, h, w], bytes."""


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of the pixels for each class, clipped to [0, 1].

    Args:
      rank: None for the full sample covariance; else the number of leading principal directions
        that are kept, with no variance in the others.

    Raises:
      ValueError: a rank below 1.
    """

    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"the rank must be 1 or more, or None, got {self.rank}")

    def fit(self, real: Split) -> Draw:
        """Fit one Gaussian per class, and return the function that samples them.

        A class with a single image is sampled as that image.
        """
        pixel_format = find_pixel_format(real.images)
        pixels = pixel_format.to_floats(real.images).flatten(1).cpu()
        labels = real.labels.cpu()
        fits = {int(c): _gaussian(pixels[labels == c], self.rank) for c in labels.unique()}

        def draw(y: Tensor, generator: Generator) -> Tensor:
            samples = torch.empty(len(y), pixels.shape[1])
            for c in y.unique():
                mean, directions = fits[int(c)]
                rows = torch.nonzero(y == c).flatten()
                weights = torch.randn(len(rows), len(directions), generator=generator)
                samples[rows] = mean + weights @ directions
            size = pixel_format.channels, pixel_format.height, pixel_format.width
            return pixel_format.to_bytes(samples.view(-1, *size))

        return draw


@dataclass(frozen=True)
class Mixup:
    """A mixture of two images of one class, with weights l and 1 - l, l ~ Beta(alpha, alpha).

    Zhang et al. 2018 mix images of different classes and their labels too; here both images are of
    one class, since an .npz holds one label per image.

    Raises:
      ValueError: alpha is not above 0.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be above 0, got {self.alpha}")

    def fit(self, real: Split) -> Draw:
        """Return the function that mixes images of `real`."""
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
    """Return the mean [d] and directions [k, d].

    Standard normal weights on the directions give a sample with the wanted covariance.
    """
    mean = pixels.mean(0)
    # Weights on the centred images give the sample covariance without ever computing it.
    directions = (pixels - mean) / math.sqrt(max(1, len(pixels) - 1))
    if rank is None or rank >= min(directions.shape):
        return mean, directions
    tall = len(directions) >= directions.shape[1]
    gram = (directions.T @ directions if tall else directions @ directions.T).double()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values[-rank:].clamp(min=0), vectors[:, -rank:]
    if tall:
        return mean, (vectors * values.sqrt()).T.float()
    return mean, (vectors.T @ directions.double()).float()
