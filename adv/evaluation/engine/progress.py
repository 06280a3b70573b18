"""Which runs of an attack an image has met, and which one comes next.

Balls are nested: an image that is fooled in one is fooled in every larger one, and one that stands
in a ball stands in every smaller one. Runs of equal radius form a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Progress:
    """The runs that each image of a block has stood, and the one that fooled it.

    Args:
      radii: the radius of each run, in ascending order.
      images: the number of images in the block.
      standing: [m] indices of the images that are attacked.
      searching: whether an image goes from the largest ball but one to smaller ones until it
        stands, and not from the smallest to larger ones. It then stands in one level at most, but
        for the largest, and a level in which it stands takes most steps. The results are the same
        unless an attack fails in a ball though it succeeds in a smaller one.
    """

    def __init__(
        self, radii: Sequence[float], images: int, standing: Tensor, *, searching: bool
    ) -> None:
        distinct = sorted(set(radii))
        self.searching = searching
        self.level_of = torch.tensor([distinct.index(eps) for eps in radii])
        self.first_of = torch.tensor([radii.index(eps) for eps in distinct])
        self.last_of = self.first_of + torch.bincount(self.level_of) - 1
        self.stood = torch.full((images,), -1)  # the largest level that an image stands in
        self.fell = torch.zeros(images).long()  # the smallest that fooled it
        self.fell[standing] = len(distinct)
        self.fooled_by = torch.full((images,), len(radii))
        self.at = torch.zeros(images).long()  # the run that an image is in or waits for
        self.at[standing] = self._next(standing)

    def record(self, images: Tensor, runs: Tensor, fooled: Tensor) -> Tensor:
        """Note the results of runs; return the run [m] that is next, or -1 if all is known.

        Args:
          images: [m] different indices into the block.
          runs: [m] the run that each of them has ended.
          fooled: [m] booleans.
        """
        level = self.level_of[runs]
        self.fell[images[fooled]] = level[fooled]
        self.fooled_by[images[fooled]] = runs[fooled]
        stands = ~fooled & (runs == self.last_of[level])
        self.stood[images[stands]] = level[stands]
        following = torch.where(fooled | stands, self._next(images), runs + 1)
        self.at[images] = following
        return following

    def next_smaller(self, images: Tensor) -> Tensor:
        """Return the first run [m] of the level below the one that fooled each image.

        Args:
          images: [m] indices into the block, of images that a run has fooled, not in the smallest
            ball.
        """
        return self.first_of[self.fell[images] - 1]

    def skipped(self, image: int, run: int) -> list[int]:
        """Return the runs of smaller radii that an image need not meet if it stands in this one."""
        level = int(self.level_of[run])
        below = range(int(self.stood[image]) + 1, level)
        return [
            smaller
            for skipped in below
            for smaller in range(int(self.first_of[skipped]), int(self.last_of[skipped]) + 1)
        ]

    def is_open(self, run: int) -> bool:
        """Return whether an image is in a run or may still come to it."""
        level = self.level_of[run]
        later = (self.level_of[self.at] != level) | (self.at <= run)
        return bool(((self.stood < level) & (level < self.fell) & later).any())

    def _next(self, images: Tensor) -> Tensor:
        """Return the first run of the level that each image goes to next, -1 if none is open.

        In a search it is the largest one but the very first, which is the largest but one: a run
        that fools an image is over sooner than one in which it stands.
        """
        stood, fell = self.stood[images], self.fell[images]
        largest = len(self.first_of) - 1
        if self.searching:
            level = fell - 1 - ((fell > largest) & (stood < largest - 1)).long()
        else:
            level = stood + 1
        return torch.where(fell - stood > 1, self.first_of[level.clamp(0, largest)], -1)
