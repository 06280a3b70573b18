"""Certified l2 radii by randomized smoothing (Cohen, Rosenfeld and Kolter, ICML 2019).

The smoothed classifier says which class the net finds most often in Gaussian noise of deviation
sigma around an image. If that class has a probability of at least p > 1/2, no change of the image
shorter than sigma * Phi^-1(p) in l2 changes the verdict. The probability is bounded from below by
counting (Clopper and Pearson 1934), so each radius holds with probability 1 - alpha over the draws.

The verdict is of the smoothed net, not of the net: one trained without such noise finds little in
it, and its radii are small or none. Train it with `TestNoise(sigma, training=True)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn

from adv.data.datasets import Split
from adv.defences.input_noise import InputNoise, without_input_noise
from adv.intervals import wilson
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import derive_seed, is_declared_random

_QUANTILE = NormalDist().inv_cdf


@dataclass(frozen=True, eq=False)
class Certificates:
    """What was certified of n images, on the CPU.

    Args:
      sigma: of the noise, in pixel units.
      draws: noisy copies that bound the probability of an image's class.
      alpha: probability that the radius of one image is too large.
      labels: [n] the true classes.
      classes: [n] the smoothed net's, -1 where it abstains.
      radii: [n] float64, in l2 on pixels in [0, 1]; 0 where it abstains.
    """

    sigma: float
    draws: int
    alpha: float
    labels: Tensor
    classes: Tensor
    radii: Tensor

    @property
    def accuracy(self) -> float:
        """Share of the images that the smoothed net gets right and does not abstain on."""
        return self.certified(0)

    @property
    def abstained(self) -> float:
        """Share of the images without a verdict."""
        return float((self.classes < 0).double().mean())

    @property
    def largest(self) -> float:
        """The radius of an image whose class was found in every draw: none is larger."""
        return self.sigma * _QUANTILE(_at_least(self.draws, self.draws, self.alpha))

    def certified(self, radius: float) -> float:
        """Share of the images that are right at every point nearer than `radius`."""
        right = (self.classes == self.labels) & (self.radii >= radius)
        return float(right.double().mean())

    def curve(self, radii: Sequence[float]) -> list[tuple[float, float, float, float]]:
        """(radius, certified accuracy, low, high) with 95 % Wilson intervals over the images."""
        rows = [(radius, self.certified(radius)) for radius in radii]
        return [(radius, share, *wilson(share, len(self.labels))) for radius, share in rows]


@torch.no_grad()
def certify(  # noqa: PLR0913, the settings are the paper's
    net: nn.Module,
    split: Split,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    batch: int | None = None,
    seed: int = 0,
) -> Certificates:
    """Certify each image: guess its class from n0 noisy copies, bound its probability by n others.

    Test noise of the net's own is off meanwhile. An image's noise does not hang on which other
    images there are.

    Args:
      net: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images, one after the other.
      sigma: of the noise, in pixel units; not clipped.
      n0: copies that choose the class.
      n: copies that bound it; with 10,000 no radius exceeds 3.2 sigma, with 100,000 3.8 sigma.
      alpha: probability that an image's radius is too large, in (0, 1).
      batch: copies at a time; None: 200 on a CPU, 2,000 on a GPU.
      seed: of the noise.

    Raises:
      ValueError: a setting out of range, no images, or a net that is random for other reasons: the
        draws must be independent, and noise of a batch's own (PNI) is not.
    """
    _check(net, split, sigma, n0, n, alpha)
    device = device_of(net)
    batch = batch or (200 if device.type == "cpu" else 2000)
    classes, radii = [], []
    with frozen(net), without_input_noise(net, every=True):
        for index, image in enumerate(split.images):
            x = image.to(device).float() / 255
            noise = torch.Generator(device).manual_seed(derive_seed(seed, index))
            guess = int(_counts(net, x, sigma, n0, batch, noise).argmax())
            hits = int(_counts(net, x, sigma, n, batch, noise)[guess])
            low = _at_least(hits, n, alpha)
            classes.append(guess if low > 0.5 else -1)
            radii.append(sigma * _QUANTILE(low) if low > 0.5 else 0.0)
    found = torch.tensor(classes), torch.tensor(radii, dtype=torch.double)
    return Certificates(sigma, n, alpha, split.labels.cpu(), *found)


def _counts(
    net: nn.Module, x: Tensor, sigma: float, copies: int, batch: int, noise: torch.Generator
) -> Tensor:
    """[classes] how many noisy copies of one image x [3, h, w] the net puts into each class."""
    total = torch.zeros((), dtype=torch.long, device=x.device)
    for begun in range(0, copies, batch):
        size = min(batch, copies - begun)
        draw = torch.empty((size, *x.shape), device=x.device).normal_(0, sigma, generator=noise)
        logits = net(x + draw)
        classes = torch.arange(logits.shape[1], device=x.device)
        total = total + (logits.argmax(1, keepdim=True) == classes).sum(0)
    return total


def _at_least(hits: int, draws: int, alpha: float) -> float:
    """The lower end of the one-sided interval of Clopper and Pearson, at level 1 - alpha."""
    from scipy.stats import beta

    return float(beta.ppf(alpha, hits, draws - hits + 1)) if hits else 0.0


def _check(net: nn.Module, split: Split, sigma: float, n0: int, n: int, alpha: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"the sigma of noise is above 0, got {sigma}")
    if min(n0, n) < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"certificates need draws and an alpha in (0, 1), got {n0}, {n} and {alpha}"
        )
    if not len(split):
        raise ValueError("there is no image to certify")
    ours = [m for layer in net.modules() if isinstance(layer, InputNoise) for m in layer.modules()]
    for module in net.modules():
        if is_declared_random(module) and not any(module is own for own in ours):
            raise ValueError(
                f"certify brings the noise itself: {type(module).__name__} makes the net random"
            )
