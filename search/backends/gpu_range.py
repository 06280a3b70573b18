"""How many GPUs a search may ask a cluster for."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GpuRange:
    """The least and the largest number of GPUs that a search may ask for.

    Args:
      least: that it asks for as long as it runs, though it may use fewer.
      most: that it asks for if its queue can use them.
    """

    least: float = 0.0
    most: float = 0.0

    def trials(self, gpus: float, queue: int) -> int:
        """Return for how many trials to ask at once.

        Args:
          gpus: of a trial, above zero.
          queue: how many trials run or are to come.
        """
        most = max(self.least, self.most)
        return max(math.ceil(self.least / gpus - 1e-6), min(queue, int(most / gpus + 1e-6)))
