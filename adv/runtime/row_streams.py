"""A random stream that gives each image noise of its own, whatever its batch.

An evaluation lends it to a random net. The noise of an image then depends on the image, the run,
the step and the draw, but neither on the batch size nor on which other images stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adv.runtime.random_streams import RngStream
from adv.runtime.splitmix64 import GOLDEN, splitmix64


class RowStream(RngStream):
    """A stream with random numbers for each draw of each image.

    All images share the stream's own generator on a GPU, where a generator for each would take a
    kernel for each; where a net is asked about other images than it has `keys` for; and in modules
    that ask for `on(device)`, such as the noise on weights of `PNI`, which a batch shares anyhow.

    Attributes:
      keys: [n] int64, a key for each image that the net is asked about next.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.keys = torch.zeros(0, dtype=torch.int64)
        self._pool: list[torch.Generator] = []
        self.begin(range(0), 0)

    def begin(self, draws: range, images: int, *, repeats: bool = False) -> None:
        """Let the next rows be those of a batch that holds so many images once for each draw.

        Args:
          draws: numbers of the draws.
          images: how many.
          repeats: the net gets each image once, and its first random layer repeats what it gets for
            each draw, of which there are two or more. What comes before is thus computed once.
        """
        self._draws = draws if images == len(self.keys) else range(0)
        self._repeats = repeats
        self._fills = 0  # by `fill_bernoulli`
        # Not seeded here: noise on weights asks for no row.
        self._seeds: Tensor | None = None
        self._generators_of_rows: list[torch.Generator] | None = None

    def repeat(self, x: Tensor) -> Tensor:
        first = self._repeats and len(x) == len(self.keys)  # later layers get all rows
        return torch.cat([x] * len(self._draws)) if first else x

    def fill(self, rows: Tensor, draw: Callable[[Tensor, torch.Generator], object]) -> None:
        if not self._has_seeds(rows):
            super().fill(rows, draw)
            return
        if self._generators_of_rows is None:
            self._generators_of_rows = self._seed_generators()
        for row, rng in zip(rows.unbind(), self._generators_of_rows, strict=True):
            draw(row, rng)

    def fill_bernoulli(self, rows: Tensor, p: float) -> None:
        # A hash for each four numbers: a generator for each row takes six times as long.
        if not self._has_seeds(rows):
            super().fill_bernoulli(rows, p)
            return
        size = rows[0].numel() if len(rows) else 0
        seeds = mix_keys([self._row_seeds(), self._fills])
        self._fills += 1
        hashes = splitmix64(seeds[:, None] + GOLDEN * torch.arange(1, 1 + math.ceil(size / 4)))
        chances = hashes.view(torch.int16)[:, :size].reshape(rows.shape)  # uniform in [-2^15, 2^15)
        torch.lt(chances, p * 2.0**16 - 2.0**15, out=rows)

    def _has_seeds(self, rows: Tensor) -> bool:
        """Return whether each of the rows has a seed of its own."""
        return rows.device.type == "cpu" and len(rows) == len(self._draws) * len(self.keys)

    def _row_seeds(self) -> Tensor:
        if self._seeds is None:
            self._seeds = mix_keys([self.keys, torch.tensor(self._draws)[:, None]]).flatten()
        return self._seeds

    def _seed_generators(self) -> list[torch.Generator]:
        seeds = self._row_seeds().tolist()
        self._pool += [torch.Generator() for _ in range(len(seeds) - len(self._pool))]
        pairs = zip(self._pool, seeds, strict=False)
        return [rng.manual_seed(seed) for rng, seed in pairs]


def mix_keys(parts: Sequence[Tensor | int]) -> Tensor:
    """Return int64 keys, hashes of integers or of int64 tensors that broadcast."""
    key = torch.zeros((), dtype=torch.int64)
    for part in parts:
        key = splitmix64(key + GOLDEN * (torch.as_tensor(part) + 1))
    return key
