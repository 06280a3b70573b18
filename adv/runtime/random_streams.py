"""Who owns the randomness of a net: one stream of generators, never torch's global one.

Layers that draw (noise, dropout) share their net's `Stream`, so a training goes on bit for bit from
a saved state, and an evaluation can lend the net a stream of its own and take it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def part(seed: int, n: int) -> int:
    """The seed of the n-th of several generators; part 0 is the seed itself.

    All 64 bits are mixed (SplitMix64, Steele, Lea and Flood 2014): a CPU generator of torch reads
    only the lower 32 of its seed.
    """
    if n == 0:
        return seed
    mixed = seed + n * 0x9E3779B97F4A7C15
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed &= 2**64 - 1
        mixed = (mixed ^ mixed >> shift) * factor
    return mixed & 2**63 - 1


class Stream:
    """Generators of one seed, one for each device, made when first asked for."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        """The generator of `device`."""
        key = str(device)
        if key not in self._generators:
            self._generators[key] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[key]

    def state(self) -> dict[str, Any]:
        """All that is needed to go on drawing from here."""
        states = {key: generator.get_state() for key, generator in self._generators.items()}
        return {"seed": self.seed, "generators": states}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.seed = state["seed"]
        self._generators = {}
        for key, saved in state["generators"].items():
            self.on(torch.device(key)).set_state(saved)

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        twin = Stream()
        twin.restore(self.state())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.restore(state)


class Noise(nn.Module):
    """Adds N(0, sigma^2) to each element, in training and evaluation alike."""

    stochastic = True

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.stream = Stream()

    def forward(self, x: Tensor) -> Tensor:
        draw = torch.empty_like(x, requires_grad=False)
        # Flat: drawing into channels_last memory takes five times as long on a CPU.
        flat = draw.as_strided((draw.numel(),), (1,))
        flat.normal_(0, self.sigma, generator=self.stream.on(x.device))
        return x + draw

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}"


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that draws from its net's stream.

    Off in evaluation, unless the layer has been made `stochastic` (`MCDropout`).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.stochastic = False
        self.stream = Stream()

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not (self.training or self.stochastic):
            return x
        keep = torch.empty_like(x, requires_grad=False)
        keep.bernoulli_(1 - self.p, generator=self.stream.on(x.device))
        return x * keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


def is_random(model: nn.Module) -> bool:
    """Whether two calls of the model in evaluation mode may differ."""
    return any(getattr(module, "stochastic", False) for module in model.modules())


def attach(model: nn.Module, stream: Stream) -> None:
    """Let every drawing layer of the model draw from `stream`."""
    for module in model.modules():
        if hasattr(module, "stream"):
            module.stream = stream  # type: ignore[assignment]


@contextmanager
def drawing(model: nn.Module, seed: int) -> Iterator[None]:
    """Lend the model a fresh stream; its own come back as they were."""
    own = [(module, module.stream) for module in model.modules() if hasattr(module, "stream")]
    attach(model, Stream(seed))
    try:
        yield
    finally:
        for module, stream in own:
            module.stream = stream
