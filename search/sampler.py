"""What to try next: a pure function of the space, the seed and the ledger's view.

The space's known points come first, then a Sobol sequence, then the sampler that was chosen, with a
small share of random points among its own. Nothing is remembered between two proposals that the
ledger does not say, so a resumed search proposes what the interrupted one would have.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from search.bayes import Follower
from search.evolution import child
from search.ledger import View
from search.points import random_point, sobol_point
from spaces import Params, Space

SAMPLERS = ("tpe", "nsga2", "gp", "random", "qmc")
WILD = 0.1  # share of random points among those of a sampler that learns
Draw = Callable[[View, random.Random], Params]


class Sampler(Protocol):
    """What to try next."""

    def propose(self, view: View) -> tuple[Params, str] | None:
        """The next point, given all that is known, and where it comes from; None for no more yet.

        That is "known", "sobol", "random" or the sampler's name.
        """


@dataclass(frozen=True)
class Sequence:
    """Known points, then a Sobol sequence up to `start` trials, then `draw`.

    Args:
      space: what may be varied.
      seed: of the whole search.
      start: how many points are tried before `draw` takes over, known ones included; None: all.
      name: of `draw`.
      draw: given the view and the proposal's own chance, a point.
      wild: share of the points after `start` that are drawn at random, in [0, 1].
    """

    space: Space
    seed: int
    start: int | None
    name: str
    draw: Draw
    wild: float = WILD

    def propose(self, view: View) -> tuple[Params, str]:
        """The next point and its origin."""
        number = len(view.trials)
        if number < len(self.space.known):
            return self.space.known[number], "known"
        if self.start is None or number < self.start:
            return sobol_point(self.space, number - len(self.space.known), self.seed), "sobol"
        chance = random.Random(f"proposal {self.seed} {number}")
        if chance.random() < self.wild:
            return random_point(self.space, chance), "random"
        return self.draw(view, chance), self.name


def sampler(name: str, space: Space, *, seed: int, start: int) -> Sampler:
    """The sampler called `name`, one of `SAMPLERS`.

    `start` says how many points are spread out before it learns from results, see `start_points`.
    """
    if name == "random":
        return Sequence(space, seed, 0, name, lambda _, chance: random_point(space, chance), 0.0)
    if name == "qmc":
        return Sequence(space, seed, None, name, lambda _, chance: random_point(space, chance))
    if name == "nsga2":
        return Sequence(space, seed, start, name, lambda view, chance: child(space, view, chance))
    return Sequence(space, seed, start, name, Follower(space, name).draw)


def start_points(space: Space, trials: int) -> int:
    """How many points are tried before the estimator: a third, 4 to 16, all known ones at least."""
    return max(min(16, max(4, trials // 3)), len(space.known))
