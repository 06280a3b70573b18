"""Random streams: every net draws from generators of its own, never from torch's global one.

All random modules of a net (noise, dropout) share its `RngStream`. So a training resumes bit for
bit from a saved state, and an evaluation can lend the net another stream and give its own back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adv.runtime.splitmix64 import GOLDEN, splitmix64


def derive_seed(seed: int, n: int) -> int:
    """Return the n-th seed that is derived from `seed`; the 0th is `seed` itself.

    All 64 bits are mixed (SplitMix64, Steele, Lea and Flood 2014), because a CPU generator of torch
    reads only the lower 32 bits of its seed.
    """
    if n == 0:
        return seed
    state = (seed + n * GOLDEN) % 2**64
    signed = state - 2**64 if state >= 2**63 else state
    return int(splitmix64(torch.tensor(signed))) & 2**63 - 1


class Shard(NamedTuple):
    """The part of a batch that is passed through a net in this process.

    Args:
      images: in the whole batch.
      rows: of the part.
    """

    images: int
    rows: range


_shard: Shard | None = None


def set_shard(shard: Shard | None) -> None:
    """Let nets draw for a whole batch, of which they are passed a part; None: for what they get."""
    global _shard  # noqa: PLW0603 - of the call of a net that is under way
    _shard = shard


class RngStream:
    """The random generators of one seed: one for each device, created when first asked for."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator:
        """Return the generator of `device`."""
        key = str(device)
        if key not in self._generators:
            self._generators[key] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[key]

    def fill(self, rows: Tensor, draw: Callable[[Tensor, torch.Generator], object]) -> None:
        """Fill `rows` [n, ...], a row for each image of a batch, by `draw(numbers, generator)`.

        While a batch is split (`set_shard`), the rows of all images are drawn, and those of the
        shard are kept.
        """
        if _shard is None:
            draw(rows, self.on(rows.device))
            return
        if len(rows) != len(_shard.rows):
            raise ValueError(f"noise for {len(rows)} images, but {len(_shard.rows)} are passed on")
        last = rows.dim() == 4 and rows.is_contiguous(memory_format=torch.channels_last)
        form = torch.channels_last if last else torch.contiguous_format
        size = (_shard.images, *rows.shape[1:])
        every = torch.empty(size, dtype=rows.dtype, device=rows.device, memory_format=form)
        draw(every, self.on(rows.device))
        rows.copy_(every[_shard.rows.start : _shard.rows.stop])

    def fill_bernoulli(self, rows: Tensor, p: float) -> None:
        """Fill `rows` [n, ...], a row for each image, with 1 at a chance of p in [0, 1], else 0."""
        self.fill(rows, lambda part, rng: part.bernoulli_(p, generator=rng))

    def repeat(self, x: Tensor) -> Tensor:
        """Return the rows that a random layer gets noise for: `x` itself (see `RowStream`)."""
        return x

    def state(self) -> dict[str, Any]:
        """Return all that is needed to continue drawing from here."""
        states = {key: generator.get_state() for key, generator in self._generators.items()}
        return {"seed": self.seed, "generators": states}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        self.seed = state["seed"]
        self._generators = {}
        for key, saved in state["generators"].items():
            self.on(torch.device(key)).set_state(saved)

    def __deepcopy__(self, memo: dict[int, Any]) -> RngStream:
        twin = RngStream()
        twin.restore(self.state())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.restore(state)


class RandomModule(nn.Module):
    """Base class of modules that draw random numbers, in training or in evaluation.

    Attributes:
      stream: where the module takes its generator from; `attach` and `use_seed` replace it.
      stochastic: True if two calls in evaluation mode may differ.
      by_row: True if each row of a batch gets noise of its own, by `stream.fill` or
        `stream.fill_bernoulli`.
    """

    stochastic: bool = True
    by_row: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.stream = RngStream()


def is_declared_random(module: nn.Module) -> bool:
    """Return whether a module, without its children, says that it is random in evaluation mode.

    A `RandomModule` says so, and any other module whose attribute `stochastic` is True.
    """
    return getattr(module, "stochastic", False) is True


def is_random(model: nn.Module) -> bool:
    """Return whether two calls of the model in evaluation mode may differ."""
    return any(is_declared_random(module) for module in model.modules())


def attach(model: nn.Module, stream: RngStream) -> None:
    """Let every `RandomModule` in the model draw from `stream`."""
    for module in _random_modules(model):
        module.stream = stream


def use_seed(model: nn.Module, seed: int) -> AbstractContextManager[None]:
    """Lend the model a fresh stream of this seed; on exit it has its own back, as it was."""
    return lend_stream(model, RngStream(seed))


@contextmanager
def lend_stream(model: nn.Module, stream: RngStream) -> Iterator[None]:
    """Lend the model a stream; on exit it has its own back, as it was."""
    before = [(module, module.stream) for module in _random_modules(model)]
    attach(model, stream)
    try:
        yield
    finally:
        for module, own in before:
            module.stream = own


def _random_modules(model: nn.Module) -> list[RandomModule]:
    return [module for module in model.modules() if isinstance(module, RandomModule)]
