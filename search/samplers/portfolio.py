"""A portfolio of proposers that share the trials of a search by what each has found in it.

No model suits every problem, and nobody knows beforehand which one does. So each proposal comes
from one of several proposers, drawn with a probability that follows from the ledger alone
(`proposer_shares`). The trial's origin in the ledger is the name of the proposer.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.record.trial import Trial
from search.record.view import View
from search.samplers.initial_design import apply_priors, has_priors
from search.samplers.model_sampler import best_candidate
from search.samplers.nsga2 import propose_offspring
from search.samplers.optuna_samplers import OptunaSampler, make_tpe
from search.samplers.strategy import Observed, Proposed, ProposeParams, Strategy
from search.surrogates.ensemble import Ensemble
from search.surrogates.forest import Forest
from search.surrogates.front_model import MIN_RESULTS, FrontModel
from search.surrogates.surrogate import Surrogate
from spaces import Space

# Proposers, and their shares before any trial has ended, up to a factor: what did well on average
# over the problems of docs/search.md comes first.
PRIOR: Mapping[str, float] = {
    "ensemble": 6.0,
    "kriging": 2.0,
    "forest": 3.0,
    "tpe": 2.0,
    "nsga2": 1.0,
    "sobol": 0.25,
}
EXPECTED_FROM_PRIOR = 3.0  # successes that each proposer is credited with, as many as expected
POWER = 2.0  # of the ratio of successes to expected ones
FLOOR = 0.03  # smallest share
# Of the proposer that draws from the priors of a space that has some: its weight at first, and the
# number of ended trials after which it is 1 / e of that.
PRIOR_DRAWS, PRIOR_LIFE = 6.0, 12.0
WINDOW = 20  # trials that a trial's success is compared with


@dataclass(frozen=True)
class Portfolio:
    """Proposes by one of several proposers.

    Args:
      space: the search space.
      observed: finished trials of earlier studies under the same battery.
      tpe: the proposer that keeps a study of Optuna.
    """

    space: Space
    observed: Observed
    tpe: OptunaSampler

    def propose_params(self, view: View, rng: random.Random) -> Proposed | None:
        """Return a configuration and the name of its proposer; None for the Sobol design.

        A model whose turn it is makes the proposal with the probability `FrontModel.skill`; else
        one of the proposers without a model does.
        """
        if len(view.scored()) + len(self.observed) < MIN_RESULTS:
            return None
        models = self._fit(view, rng)
        shares = proposer_shares(self.space, view, {k: m.precision for k, m in models.items()})
        name = _draw(shares, rng)
        if name in models:
            if rng.random() < models[name].skill:
                params = best_candidate(models[name], view, rng)
                if params is not None:
                    return Proposed(params, name)
            name = _draw({k: v for k, v in shares.items() if k not in models}, rng)
        if name == "tpe":
            return Proposed(self.tpe.propose_params(view, rng), name)
        if name == "nsga2":
            return Proposed(propose_offspring(self.space, view, rng), name)
        if name == "prior":
            uniform = [rng.random() for _ in self.space.knobs]
            return Proposed(self.space.at(apply_priors(self.space, uniform)), name)
        return None

    def _fit(self, view: View, rng: random.Random) -> dict[str, FrontModel]:
        process = Surrogate(self.space, view, self.observed)
        forest = Forest(self.space, view, self.observed, rng.getrandbits(32))
        return {"kriging": process, "forest": forest, "ensemble": Ensemble([process, forest])}


def proposer_shares(
    space: Space, view: View, precision: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the share of each proposer, in [0, 1]; they sum to 1.

    A share is the prior, times (successes / expected successes) ** `POWER`, times the precision of
    a model, which is 1 for a model that knows nothing and for all others. A success is a trial
    that was on the front when it ended and equalled no member of it; it is expected with the
    frequency of successes among the `WINDOW` trials before it, whoever proposed them. Success
    becomes rarer as a search goes on, and comparing only trials of the same time allows for that.
    Draws from the priors of the space have a share that decays with the number of ended trials,
    and faster if they do no better than others.

    Args:
      space: the search space.
      view: of the ledger.
      precision: `FrontModel.precision` of each model.
    """
    won: Counter[str] = Counter()
    expected: dict[str, float] = defaultdict(float)
    trials = (t for t in view.trials.values() if t.ended)
    ended = sorted(trials, key=lambda t: (t.ended, t.number))
    successes = _successes(ended, view)
    for i, trial in enumerate(ended):
        before = successes[max(0, i - WINDOW) : i]
        won[trial.origin] += successes[i]
        expected[trial.origin] += (sum(before) + 1) / (len(before) + 2)
    priors = dict(PRIOR)
    if has_priors(space):
        priors["prior"] = PRIOR_DRAWS * math.exp(-len(ended) / PRIOR_LIFE)
    weights = {}
    for name, prior in priors.items():
        ratio = (won[name] + EXPECTED_FROM_PRIOR) / (expected[name] + EXPECTED_FROM_PRIOR)
        weights[name] = prior * ratio**POWER * (precision or {}).get(name, 1.0)
    total = sum(weights.values())
    spare = 1 - FLOOR * len(weights)
    return {name: FLOOR + spare * weight / total for name, weight in weights.items()}


def _successes(ended: Sequence[Trial], view: View) -> list[bool]:
    """Return for each trial whether it widened the front of those that had ended before it."""
    on_front: list[tuple[float, float]] = []
    found = []
    for trial in ended:
        widens = trial.result is not None and view.feasible(trial)
        if trial.result is not None and widens:
            point = trial.result.point
            widens = not any(a >= point[0] and b >= point[1] for a, b in on_front)
            if widens:
                on_front = [p for p in on_front if p[0] > point[0] or p[1] > point[1]]
                on_front.append(point)
        found.append(widens)
    return found


def _draw(shares: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _build(space: Space, observed: Observed) -> ProposeParams:
    tpe = OptunaSampler(space, make_tpe, observed)
    return Portfolio(space, observed, tpe).propose_params


PORTFOLIO = Strategy(
    _build,
    needs_initial_design=False,  # it proposes along the Sobol sequence until there are results
    random_share=0.05,
)
