"""Gaussian noise on the images that are classified.

One draw gives a random prediction; the vote of many is randomized smoothing (Cohen, Rosenfeld and
Kolter, ICML 2019), whose l2 radii `adv.certify` computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from adv.defences.defence import Defence, input_layer_name, insert_before
from adv.runtime.random_layers import Noise


@dataclass(frozen=True)
class TestNoise(Defence):
    """Add N(0, sigma^2) to each pixel value in evaluation.

    Without `training` the noise is off throughout training, for the net and for the training attack
    alike: the weights are those of a net without this defence.

    Args:
      sigma: in pixel units, on images in [0, 1]; above 0. The noisy image is not clipped.
      training: add the noise in training too, which useful certified radii need.

    Raises:
      ValueError: sigma is not above 0; on a call: the net has no convolution.
    """

    __test__: ClassVar[bool] = False  # or pytest collects it as a test

    sigma: float
    training: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"the sigma of noise is above 0, got {self.sigma}")

    def __call__(self, net: nn.Module) -> nn.Module:
        insert_before(
            net, input_layer_name(net, "TestNoise"), InputNoise(self.sigma, self.training)
        )
        return net


class InputNoise(nn.Module):
    """Noise on images, off in training mode unless `always`; `without_input_noise` silences it."""

    stochastic = True
    by_row = True

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
    """Switch off the test noise of a net on entry, and on again on exit.

    The training attack runs the net in evaluation mode, so the mode alone does not decide.

    Args:
      net: the net.
      every: also switch off noise that is on in training (`TestNoise(training=True)`).
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
    """Return the largest sigma of noise that is also on in training, and that of all other noise.

    Each is None if the net has no such noise.
    """
    layers = [m for m in net.modules() if isinstance(m, InputNoise)]
    always, in_evaluation = (
        max((m.noise.sigma for m in layers if m.always == kind), default=None)
        for kind in (True, False)
    )
    return always, in_evaluation
