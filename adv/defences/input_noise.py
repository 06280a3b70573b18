"""Gaussian noise on the images that are to be classified.

One draw is a random prediction; the vote of many is randomized smoothing (Cohen, Rosenfeld and
Kolter, ICML 2019), whose l2 radii `adv.certify` measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from adv.defences.defence import Defence, entrance, put_before
from adv.runtime.random_layers import Noise


@dataclass(frozen=True)
class TestNoise(Defence):
    """Adds N(0, sigma^2) to each pixel value in evaluation.

    Without `training`, training does not know of it: neither the net nor the training attack sees
    the noise, and the weights are those of a net without this defence.

    Args:
      sigma: in pixel units, on images in [0, 1]; above 0. The noisy image is not clipped.
      training: noise in training too, which certified radii need.

    Raises:
      ValueError: sigma is not above 0; on a call: the net has no convolution.
    """

    __test__: ClassVar[bool] = False  # or pytest takes it for a test

    sigma: float
    training: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"the sigma of noise is above 0, got {self.sigma}")

    def __call__(self, net: nn.Module) -> nn.Module:
        put_before(net, entrance(net, "TestNoise"), InputNoise(self.sigma, self.training))
        return net


class InputNoise(nn.Module):
    """Noise on images, off in training mode unless `always`; `without_input_noise` silences it."""

    stochastic = True

    def __init__(self, sigma: float, always: bool) -> None:
        super().__init__()
        self.noise = Noise(sigma)
        self.always = always
        self.silent = False

    def forward(self, x: Tensor) -> Tensor:
        if self.silent or (self.training and not self.always):
            return x
        return self.noise(x)


@contextmanager
def without_input_noise(net: nn.Module, *, every: bool) -> Iterator[None]:
    """Silence the test noise of a net: all of it, or what is not there in training.

    The training attack looks at the net in evaluation mode, so the mode alone cannot tell.
    """
    layers = [m for m in net.modules() if isinstance(m, InputNoise) and (every or not m.always)]
    try:
        for layer in layers:
            layer.silent = True
        yield
    finally:
        for layer in layers:
            layer.silent = False


def input_noise_sigmas(net: nn.Module) -> tuple[float | None, float | None]:
    """The sigma of a net's test noise that is there in training, and that of what is not."""
    layers = [m for m in net.modules() if isinstance(m, InputNoise)]
    sigmas = [[m.noise.sigma for m in layers if m.always == always] for always in (True, False)]
    trained, tested = (max(found, default=None) for found in sigmas)
    return trained, tested
