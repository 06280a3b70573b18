"""Random self-ensemble (Liu et al., ECCV 2018): Gaussian noise before every convolution.

The noise is on in training and in evaluation and is not learned. Its ensemble is `Votes(net, n)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from adv.defences.defence import Defence, entrance, put_before
from adv.runtime.random_layers import Noise


@dataclass(frozen=True)
class RSE(Defence):
    """Noise of deviation `sigma_init` before the first convolution, `sigma_inner` before others.

    `sigma_init` is in pixel units, on images in [0, 1] as published: where the net begins with a
    normalisation, the noise comes before it. `sigma_inner` is in units of the activations it meets.
    A sigma of 0 adds no layer.

    Raises:
      ValueError: a sigma is negative or not finite; on a call: the net has no convolution.
    """

    sigma_init: float = 0.2
    sigma_inner: float = 0.1

    def __post_init__(self) -> None:
        for sigma in (self.sigma_init, self.sigma_inner):
            if not (math.isfinite(sigma) and sigma >= 0):
                raise ValueError(f"a sigma is 0 or more, got {sigma}")

    def __call__(self, net: nn.Module) -> nn.Module:
        places = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
        if not places:
            raise ValueError("RSE needs a net with a convolution")
        first = entrance(net, "RSE")
        for name, sigma in [(first, self.sigma_init), *((p, self.sigma_inner) for p in places[1:])]:
            if sigma > 0:
                put_before(net, name, Noise(sigma))
        return net
