"""Bayesian optimisation with a forest instead of Gaussian processes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from search.record.view import View
from search.samplers.gp_sampler import best_candidate
from search.samplers.strategy import Observed, Strategy
from search.surrogates.forest import Forest
from search.surrogates.front_model import MIN_RESULTS
from spaces import Params, Space


@dataclass(frozen=True)
class ForestSampler:
    """Proposes by the expected hypervolume improvement under a forest (`Forest`).

    Args:
      space: the search space.
      observed: finished trials of earlier studies under the same battery.
    """

    space: Space
    observed: Observed = ()

    def propose_params(self, view: View, rng: random.Random) -> Params | None:
        """Return the best untried candidate.

        Returns None while there are too few results. Returns None also at random, the more often
        the worse the forest ranks trials that it was not fitted to (`Forest.skill`).
        """
        if len(view.scored()) + len(self.observed) < MIN_RESULTS:
            return None
        forest = Forest(self.space, view, self.observed, rng.getrandbits(32))
        if rng.random() >= forest.skill:
            return None
        return best_candidate(forest, view, rng)


FOREST = Strategy(
    lambda space, observed: ForestSampler(space, observed).propose_params,
    needs_initial_design=False,
    random_share=0.05,
)
