"""A random stream that gives each image noise of its own, whatever its batch.

An evaluation lends it to a random net. The noise of an image then depends on the image, the run,
the step and the draw, but neither on the batch size nor on which other images stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adv.runtime.random_streams import RngStream
from adv.runtime.splitmix64 import GOLDEN, splitmix64


class RowStream(RngStream):
    """A stream with a generator for each draw of each image.

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
        self._draws = range(0)
        self._rows: list[torch.Generator] | None = []  # None: not seeded yet

    def begin(self, draws: range, images: int) -> None:
        """Let the next rows be those of a batch that holds so many images once for each draw."""
        self._draws = draws
        self._rows = None if images == len(self.keys) else []

    def fill(self, rows: Tensor, draw: Callable[[Tensor, torch.Generator], object]) -> None:
        if rows.device.type != "cpu":
            super().fill(rows, draw)
            return
        if self._rows is None:  # not in `begin`: noise on weights asks for no row
            self._rows = self._seed_rows()
        if len(rows) != len(self._rows):
            super().fill(rows, draw)
            return
        for row, rng in zip(rows.unbind(), self._rows, strict=True):
            draw(row, rng)

    def _seed_rows(self) -> list[torch.Generator]:
        seeds = mix_keys([self.keys, torch.tensor(self._draws)[:, None]]).flatten().tolist()
        self._pool += [torch.Generator() for _ in range(len(seeds) - len(self._pool))]
        pairs = zip(self._pool, seeds, strict=False)
        return [rng.manual_seed(seed) for rng, seed in pairs]


def mix_keys(parts: Sequence[Tensor | int]) -> Tensor:
    """Return int64 keys, hashes of integers or of int64 tensors that broadcast."""
    key = torch.zeros((), dtype=torch.int64)
    for part in parts:
        key = splitmix64(key + GOLDEN * (torch.as_tensor(part) + 1))
    return key
