"""Certified l2 radii by randomized smoothing (Cohen, Rosenfeld and Kolter, ICML 2019).

The smoothed classifier predicts the class that the net predicts most often under Gaussian noise of
deviation sigma around an image. If that class has a probability of at least p > 1/2, no change of
the image shorter than sigma * Phi^-1(p) in l2 changes the prediction. The probability is bounded
from below by counting (Clopper and Pearson 1934), so each radius holds with probability 1 - alpha
over the draws.

The certificate is about the smoothed net, not the net itself: one trained without such noise is
inaccurate in it, and its radii are small or 0. Train it with `TestNoise(sigma, training=True)`.
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
    """Certified radii of n images, on the CPU.

    Args:
      sigma: standard deviation of the noise, in pixel units.
      draws: noisy copies from which the probability of an image's class is bounded.
      alpha: probability that the radius of one image is too large.
      labels: [n] true classes.
      classes: [n] classes predicted by the smoothed net, -1 where it abstains.
      radii: [n] float64, in l2 on pixels in [0, 1]: within them the prediction is right. 0 where
        it abstains or is wrong: that a wrong class does not change certifies no accuracy.
    """

    sigma: float
    draws: int
    alpha: float
    labels: Tensor
    classes: Tensor
    radii: Tensor

    @property
    def accuracy(self) -> float:
        """The accuracy of the smoothed net; abstaining counts as wrong."""
        return self.certified(0)

    @property
    def abstained(self) -> float:
        """The share of images on which the smoothed net abstains."""
        return float((self.classes < 0).double().mean())

    @property
    def wrong(self) -> float:
        """The share of images for which the smoothed net is sure of a wrong class."""
        return float(((self.classes >= 0) & (self.classes != self.labels)).double().mean())

    @property
    def largest(self) -> float:
        """The largest possible radius: that of an image with the same class in every draw."""
        return self.sigma * _QUANTILE(_lower_bound(self.draws, self.draws, self.alpha))

    def certified(self, radius: float) -> float:
        """Return the certified accuracy: the share of images correct everywhere within `radius`."""
        right = (self.classes == self.labels) & (self.radii >= radius)
        return float(right.double().mean())

    def curve(self, radii: Sequence[float]) -> list[tuple[float, float, float, float]]:
        """Return (radius, certified accuracy, low, high) with 95 % Wilson intervals over images."""
        rows = [(radius, self.certified(radius)) for radius in radii]
        return [(radius, share, *wilson(share, len(self.labels))) for radius, share in rows]


@torch.no_grad()
def certify(  # noqa: PLR0913  # the settings are the paper's
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
    """Certify each image: pick its class from n0 noisy copies, bound its probability by n others.

    The net's own test noise is switched off. The noise of an image does not depend on the other
    images.

    Args:
      net: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images, certified one after another.
      sigma: standard deviation of the noise, in pixel units; noisy images are not clipped.
      n0: copies that pick the class.
      n: copies that bound its probability; with 10,000 no radius exceeds 3.2 sigma, with
        100,000 3.8 sigma.
      alpha: probability that an image's radius is too large, in (0, 1).
      batch: copies at a time; None: 200 on a CPU, 2,000 on a GPU.
      seed: seed of the noise.

    Raises:
      ValueError: a setting out of range, no images, or a net that is random for other reasons: the
        draws must be independent, and noise shared by a batch (PNI) is not.
    """
    _check(net, split, sigma, n0, n, alpha)
    device = device_of(net)
    batch = batch or (200 if device.type == "cpu" else 2000)
    classes, radii = [], []
    with frozen(net), without_input_noise(net, every=True):
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            x = image.to(device).float() / 255
            noise = torch.Generator(device).manual_seed(derive_seed(seed, index))
            guess = int(_counts(net, x, sigma, n0, batch, noise).argmax())
            hits = int(_counts(net, x, sigma, n, batch, noise)[guess])
            low = _lower_bound(hits, n, alpha)
            classes.append(guess if low > 0.5 else -1)
            right = low > 0.5 and guess == int(label)
            radii.append(sigma * _QUANTILE(low) if right else 0.0)
    found = torch.tensor(classes), torch.tensor(radii, dtype=torch.double)
    return Certificates(sigma, n, alpha, split.labels.cpu(), *found)


def _counts(
    net: nn.Module, x: Tensor, sigma: float, copies: int, batch: int, noise: torch.Generator
) -> Tensor:
    """Return [classes]: how many noisy copies of one image x [3, h, w] the net assigns to each."""
    total = torch.zeros((), dtype=torch.long, device=x.device)
    for done in range(0, copies, batch):
        size = min(batch, copies - done)
        draw = torch.empty((size, *x.shape), device=x.device).normal_(0, sigma, generator=noise)
        logits = net(x + draw)
        classes = torch.arange(logits.shape[1], device=x.device)
        total = total + (logits.argmax(1, keepdim=True) == classes).sum(0)
    return total


def _lower_bound(hits: int, draws: int, alpha: float) -> float:
    """Return the lower end of the one-sided Clopper-Pearson interval at level 1 - alpha."""
    from scipy.stats import beta

    return float(beta.ppf(alpha, hits, draws - hits + 1)) if hits else 0.0


def _check(net: nn.Module, split: Split, sigma: float, n0: int, n: int, alpha: float) -> None:
    """Raise ValueError unless the settings are in range and the net's draws are independent."""
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"the sigma of noise is above 0, got {sigma}")
    if min(n0, n) < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"certificates need draws and an alpha in (0, 1), got {n0}, {n} and {alpha}"
        )
    if not len(split):
        raise ValueError("there is no image to certify")
    own_noise = [
        m for layer in net.modules() if isinstance(layer, InputNoise) for m in layer.modules()
    ]
    for module in net.modules():
        if is_declared_random(module) and not any(module is own for own in own_noise):
            raise ValueError(
                f"certify adds the noise itself: {type(module).__name__} makes the net random"
            )
