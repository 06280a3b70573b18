"""Advice: what more trials, or more fresh seeds, are expected to add to the front.

The worth of what is known is the hypervolume of the posterior means: of the front that one would
pick by them. New trials add points; fresh seeds show which points are worth picking. Both gains are
expectations of the same worth, so they can be compared (the hypervolume knowledge gradient of
Daulton et al. 2023, one step ahead).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adv.intervals import error_of_interval
from search.finals.seed_noise import Floats
from search.finals.selection import front_membership
from search.finals.standings import collect_finalists, measured_values
from search.finals.true_values import mean_true_values, sample_true_values
from search.record.pareto import front, hypervolume
from search.record.view import View
from spaces import OBJECTIVES

AHEAD = 8  # trials, or fresh seeds
MIN_TRIALS = 12  # below them nothing is estimated
DRAWS = 40  # of what the next trials, or the next seeds, may bring


@dataclass(frozen=True)
class Knowledge:
    """The values that a search and its finals have measured.

    Args:
      search: [n, 2] values of the search, the oldest trial first, in the unit of the fresh ones.
      fresh: for some trials, by index, the values [k, 2] of fresh seeds.
      sd: [2] standard deviation between seeds, or of one evaluation.
      reference: the point above which the hypervolume is measured.
    """

    search: Floats
    fresh: Mapping[int, Floats]
    sd: Floats
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def worth(self) -> float:
        """The hypervolume of the posterior means."""
        return hypervolume(mean_true_values(self.search, self.fresh, self.sd), self.reference)

    def without(self, left_out: Floats) -> Knowledge:
        """Return what would be known without some trials, given by index."""
        kept = np.setdiff1d(np.arange(len(self.search)), left_out)
        fresh = {int(j): self.fresh[int(i)] for j, i in enumerate(kept) if int(i) in self.fresh}
        return Knowledge(self.search[kept], fresh, self.sd, self.reference)


def collect_knowledge(view: View) -> Knowledge:
    """Return what a search and its finals have measured so far, of its feasible trials.

    Without fresh seeds, seeds are taken to differ as much as the images of one evaluation let a
    value differ. The hypervolume is measured above zero in both objectives, with objectives of
    one's own above the worst values.
    """
    done = [t for t in view.scored() if view.feasible(t)] or view.scored()
    known = {f.trial.number: f for f in collect_finalists(view) if f.runs}
    errors = [
        [error_of_interval(*t.result.intervals.get(name, (0.0, 0.0))) for name in t.result.aims]
        for t in [*done, *(run for f in known.values() for run in f.runs)]
        if t.result
    ]
    sd = np.maximum(np.mean(errors, axis=0), 1e-9) if errors else np.ones(2)
    fresh = {i: np.array(known[t.number].points) for i, t in enumerate(done) if t.number in known}
    values = measured_values(list(known.values()), done)
    if view.header.aims == OBJECTIVES or not done:
        return Knowledge(values, fresh, sd)
    low = values.min(axis=0)
    return Knowledge(values, fresh, sd, (float(low[0]), float(low[1])))


def gain_of_trials(known: Knowledge, count: int = AHEAD, seed: int = 0) -> float:
    """Return by which share the next trials are expected to raise the worth; NaN if unknown.

    It is what so many of the latest half of the trials have added to all others, on average over
    which of them are left out, less what the search has slowed down since: the gains of random
    search fall as one over the number of trials, those of a model hardly; taken is the square root.

    Args:
      known: at least `MIN_TRIALS` trials.
      count: how many trials come; 0 add nothing.
      seed: of the draws.
    """
    n = len(known.search)
    if n < MIN_TRIALS:
        return float("nan")
    if not count:
        return 0.0
    latest = np.arange(n - max(n // 2, 6), n)
    some = min(count, len(latest) // 2)
    rng = np.random.default_rng(seed)
    worth = known.worth
    losses = [
        worth - known.without(rng.choice(latest, some, replace=False)).worth for _ in range(DRAWS)
    ]
    slower = ((n - some) / (n + count)) ** 0.5
    return float(np.mean(losses)) / worth * slower * count / some if worth else float("nan")


def gain_of_seeds(known: Knowledge, count: int = AHEAD, seed: int = 0) -> float:
    """Return by which share the next fresh seeds are expected to raise the worth; NaN if unknown.

    The seeds go to the trials whose membership is least certain. What they will measure is drawn
    from the posterior.

    Args:
      known: at least `MIN_TRIALS` trials.
      count: how many seeds come.
      seed: of the draws.
    """
    n, worth, low = len(known.search), known.worth, known.reference
    if n < MIN_TRIALS or not worth:
        return float("nan")
    rng = np.random.default_rng(seed)
    true = sample_true_values(known.search, known.fresh, known.sd, draws=5 * DRAWS, seed=seed)
    p = front_membership(true).mean(axis=0)
    seeds = np.array([len(known.fresh.get(i, ())) for i in range(n)], dtype=float)
    chosen = []
    for _ in range(count):
        i = int(np.argmax(p * (1 - p) / ((seeds + 1) * (seeds + 2))))
        chosen.append(i)
        seeds[i] += 1
    picked = front(mean_true_values(known.search, known.fresh, known.sd))
    gains = []
    for x in true[::5]:
        fresh = {i: np.asarray(v) for i, v in known.fresh.items()}
        for i in chosen:
            value = x[i] + known.sd * rng.standard_normal(2)
            fresh[i] = np.concatenate([fresh.get(i, np.empty((0, 2))), value[None]])
        better = front(mean_true_values(known.search, fresh, known.sd))
        gains.append(hypervolume(x[better], low) - hypervolume(x[picked], low))
    return max(0.0, float(np.mean(gains))) / worth
