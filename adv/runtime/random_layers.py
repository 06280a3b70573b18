"""Layers that draw from the random stream of their net: Gaussian noise and dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from adv.runtime.random_streams import RandomModule


class Noise(RandomModule):
    """Adds N(0, sigma^2) to each element, in training and in evaluation."""

    by_row = True

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream.repeat(x)
        noise = torch.empty_like(x, requires_grad=False)
        # Flat: drawing into channels_last memory takes five times as long on a CPU.
        size = noise.numel() // max(1, len(noise))
        flat = noise.as_strided((len(noise), size), (size, 1))
        self.stream.fill(flat, lambda rows, rng: rows.normal_(0, self.sigma, generator=rng))
        return x + noise

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}"


class Dropout(RandomModule):
    """Dropout (Srivastava et al. 2014) that draws from the stream of its net.

    It is off in evaluation unless `stochastic` is set, as `MCDropout` does.
    """

    by_row = True

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.stochastic = False

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not (self.training or self.stochastic):
            return x
        x = self.stream.repeat(x)
        keep = torch.empty_like(x, requires_grad=False)
        self.stream.fill_bernoulli(keep, 1 - self.p)
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
