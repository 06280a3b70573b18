"""Random self-ensemble (Liu et al., ECCV 2018): Gaussian noise before every convolution.

The noise is on in training and in evaluation and is not learned. `Votes(net, n)` is the ensemble.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from adv.defences.defence import Defence, input_layer_name, insert_before
from adv.runtime.random_layers import Noise


@dataclass(frozen=True)
class RSE(Defence):
    """Add Gaussian noise before every convolution.

    A sigma of 0 adds no layer.

    Args:
      sigma_init: deviation before the first convolution, in pixel units, on images in [0, 1] as
        published: if the net begins with a normalisation, the noise comes before it.
      sigma_inner: deviation before the others, in units of their inputs.

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
        names = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
        if not names:
            raise ValueError("RSE needs a net with a convolution")
        first = input_layer_name(net, "RSE")
        for name, sigma in [
            (first, self.sigma_init),
            *((later, self.sigma_inner) for later in names[1:]),
        ]:
            if sigma > 0:
                insert_before(net, name, Noise(sigma))
        return net
