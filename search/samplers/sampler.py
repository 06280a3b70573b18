"""What to try next: a pure function of the space, the seed and the ledger's view.

The space's known points come first, then a Sobol sequence, then the sampler that was chosen, with a
small share of random points among its own. Nothing is remembered between two proposals that the
ledger does not say, so a resumed search proposes what the interrupted one would have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from search.record.study_header import StudyHeader
from search.record.view import View
from search.samplers.gp_sampler import Kriging
from search.samplers.initial_design import random_point, sobol_point
from search.samplers.nsga2 import child
from search.samplers.optuna_samplers import Follower
from search.samplers.warm_start import results
from spaces import Params, Space

SAMPLERS = ("kriging", "tpe", "nsga2", "gp", "random", "qmc")
WILD = 0.1  # share of random points among those of a sampler that learns
RARE = 0.05  # the same of one that says by itself when it cannot tell
ATTEMPTS = 200  # draws of a point that keeps the constraints known beforehand
INSISTS = 8  # of these the sampler's own; the others are drawn at random
GP_MOST = 500  # trials; beyond them a proposal takes several seconds
Draw = Callable[[View, random.Random], Params | None]


def anything(params: Params) -> bool:  # noqa: ARG001
    """Every point may be tried."""
    return True


class Sampler(Protocol):
    """What to try next."""

    def propose(self, view: View) -> tuple[Params, str] | None:
        """The next point, given all that is known, and where it comes from; None for no more yet.

        That is "known", "sobol", "random" or the sampler's name.
        """


@dataclass(frozen=True)
class Proposals:
    """Points to try first, then a Sobol sequence up to `start` trials, then `draw`.

    Args:
      space: what may be varied.
      seed: of the whole search.
      first: points to try first.
      start: how many trials come before `draw` takes over, the first points included; None: all.
      name: of `draw`.
      draw: given the view and the proposal's own chance, a point; None for one of the sequence.
      wild: share of the points after `start` that are drawn at random, in [0, 1].
      allowed: whether a point may be tried at all.
    """

    space: Space
    seed: int
    first: Sequence[Params]
    start: int | None
    name: str
    draw: Draw
    wild: float = WILD
    allowed: Callable[[Params], bool] = anything

    def propose(self, view: View) -> tuple[Params, str] | None:
        """The next point and its origin; None while nothing that is allowed is found."""
        number = len(view.trials)
        if number < len(self.first):
            return self.first[number], "known"
        chance = random.Random(f"proposal {self.seed} {number}")
        for attempt in range(ATTEMPTS):
            params, origin = self._next(view, number, chance, attempt)
            if self.allowed(params):
                return params, origin
        raise ValueError(f"of {ATTEMPTS} points drawn none keeps the constraints")

    def _next(
        self, view: View, number: int, chance: random.Random, attempt: int
    ) -> tuple[Params, str]:
        if attempt >= INSISTS:  # a sampler may insist on what is not allowed
            return random_point(self.space, chance), "random"
        if self.start is not None and number >= self.start:
            if chance.random() < self.wild:
                return random_point(self.space, chance), "random"
            point = self.draw(view, chance)
            if point is not None:
                return point, self.name
        if attempt:
            return random_point(self.space, chance), "random"
        return sobol_point(self.space, number - len(self.first), self.seed), "sobol"


def sampler(
    name: str,
    space: Space,
    *,
    seed: int,
    start: int,
    header: StudyHeader | None = None,
    allowed: Callable[[Params], bool] = anything,
) -> Sampler:
    """The sampler called `name`, one of `SAMPLERS`.

    Args:
      name: of the sampler.
      space: what may be varied.
      seed: of the search.
      start: how many points are spread out before it learns from results, see `start_points`;
        "kriging" begins when it has proved that it can tell.
      header: of the study, which may hold points and values of earlier ones (`search.samplers.warm_start`).
      allowed: whether a point may be tried at all; known ones that may not are left out.

    Raises:
      ValueError: "gp" on a space that it cannot model.
    """
    warm = header.warm if header else None
    before = results(warm)
    points = (*(warm.points if warm else ()), *space.known)
    first = [p for i, p in enumerate(points) if p not in points[:i] and allowed(p)]
    begin = len(first) if before else max(start, len(first))
    draws: dict[str, tuple[int | None, float, Draw]] = {
        "random": (0, 0.0, lambda _, chance: random_point(space, chance)),
        "qmc": (None, 0.0, lambda _, chance: random_point(space, chance)),
        "kriging": (len(first), RARE, Kriging(space, before).draw),
        "nsga2": (begin, WILD, lambda view, chance: child(space, view, chance)),
    }
    if name not in draws:
        if name == "gp":
            check_gp(space)
        draws[name] = (begin, WILD, Follower(space, name, before).draw)
    begin_at, wild, draw = draws[name]
    return Proposals(space, seed, first, begin_at, name, draw, wild, allowed)


def check_gp(space: Space, trials: int = 0) -> None:
    """Raise ValueError where Gaussian processes cannot model the space, or not so many trials."""
    for name, knob in space.knobs.items():
        if knob.when:
            raise ValueError(
                f"--sampler gp needs a space without conditions, knob {name!r} has one: take tpe"
            )
    if trials > GP_MOST:
        raise ValueError(f"--sampler gp is for up to {GP_MOST} trials, not {trials}: take tpe")


def usual_sampler(trials: int) -> str:
    """The sampler that won in `benchmarks/search_quality.py`; TPE where it would be slow."""
    return "kriging" if trials <= GP_MOST else "tpe"


def start_points(space: Space, trials: int) -> int:
    """How many points are tried before the estimator: a third, 4 to 16, all known ones at least."""
    return max(min(16, max(4, trials // 3)), len(space.known))
