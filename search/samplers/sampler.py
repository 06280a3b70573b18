"""The sampler proposes the next configuration, as a pure function of space, seed and ledger.

The space's known configurations come first, then a Sobol sequence, then the chosen strategy, mixed
with a small share of random configurations. All its state is in the ledger, so a resumed search
proposes what the interrupted one would have proposed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from search.record.view import View
from search.samplers.finite_space import configuration_key, list_configurations, tried_keys
from search.samplers.initial_design import has_priors, random_params, sobol_params
from search.samplers.strategy import Proposed, ProposeParams
from spaces import Params, Space

ATTEMPTS = 200  # draws until a configuration is allowed by the constraints known in advance
PRIOR_DESIGN = 8  # every second one of so many spread configurations follows the priors
STRATEGY_ATTEMPTS = 8  # of these the strategy's own; the others are drawn at random


class Sampler(Protocol):
    """Proposes the next configuration."""

    def propose(self, view: View) -> tuple[Params, str] | None:
        """Return the next configuration and its origin, or None if there is none at the moment.

        The origin is "known", "prior", "sobol", "random", or the name of the sampler or proposer.
        """


@dataclass(frozen=True)
class StagedSampler:
    """Proposes known configurations, then a Sobol sequence, then those of a strategy.

    Args:
      space: the search space.
      seed: of the whole search.
      first: the known configurations, tried first.
      start: how many trials come before the strategy takes over, those of `first` included.
      name: of the strategy, the origin of its proposals.
      propose_params: the strategy; None goes on with the Sobol sequence.
      random_share: the share of proposals after `start` that are drawn at random, in [0, 1].
      allowed: returns False for configurations that must not be tried.
    """

    space: Space
    seed: int
    first: Sequence[Params]
    start: int
    name: str
    propose_params: ProposeParams | None
    random_share: float
    allowed: Callable[[Params], bool]

    def propose(self, view: View) -> tuple[Params, str] | None:
        """Return the next configuration, one that was not tried before, and its origin.

        Returns None if the space has no other configuration that is allowed.

        Raises:
          ValueError: none of `ATTEMPTS` draws is allowed.
        """
        number = view.next_number
        known = self._next_known(view, number)
        if known is not None:
            return known, "known"
        tried = tried_keys(view)
        if self._all is not None and len(tried) >= len(self._all):
            return None
        rng = random.Random(f"proposal {self.seed} {number}")
        repeats = 0
        for attempt in range(ATTEMPTS):
            params, origin = self._next(view, number, rng, attempt)
            if configuration_key(params) in tried:
                repeats += 1
            elif self.allowed(params):
                return params, origin
        left = [p for p in self._all or () if configuration_key(p) not in tried and self.allowed(p)]
        if left:
            return rng.choice(left), "random"
        if repeats:
            return None
        raise ValueError(f"none of {ATTEMPTS} sampled configurations satisfies the constraints")

    @cached_property
    def _all(self) -> list[Params] | None:
        """Every configuration of the space, None if there are too many."""
        return list_configurations(self.space)

    def _next_known(self, view: View, number: int) -> Params | None:
        """Return a known configuration that is due; those of lost trials are tried again."""
        if not view.lost:
            return self.first[number] if number < len(self.first) else None
        tried = [trial.params for trial in view.trials.values()]
        return next((params for params in self.first if params not in tried), None)

    def _next(
        self, view: View, number: int, rng: random.Random, attempt: int
    ) -> tuple[Params, str]:
        if attempt >= STRATEGY_ATTEMPTS:  # the strategy may keep proposing what is not allowed
            return random_params(self.space, rng), "random"
        if self.propose_params is not None and number >= self.start:
            if rng.random() < self.random_share:
                return random_params(self.space, rng), "random"
            found = self.propose_params(view, rng)
            if isinstance(found, Proposed):
                return found.params, found.origin
            if found is not None:
                return found, self.name
        if attempt:
            return random_params(self.space, rng), "random"
        index = max(0, number - len(self.first))
        by_prior = self._uses_priors and index < PRIOR_DESIGN and index % 2 == 0
        origin = "prior" if by_prior else "sobol"
        return sobol_params(self.space, index, self.seed, by_prior=by_prior), origin

    @cached_property
    def _uses_priors(self) -> bool:
        return self.propose_params is not None and has_priors(self.space)
