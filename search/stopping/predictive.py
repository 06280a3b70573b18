"""Predictive stopping: a trial stops if it will hardly reach the front, once that has been tested.

The predictive termination criterion of Domhan et al. 2015, for two objectives: at a rung a model of
the learning curves gives the probability that the trial's final values will be on the front, and
only a small one stops it. Before the rule may act it is put to the test on this search's own
finished trials: each is left out in turn, and predicted from the others. Of those that would have
been stopped, so few may lie on the front that stopping gains more than it costs, with confidence.
Where early values tell little, no small probability turns up or some turn out wrong, and the rule
does nothing.

A share of the trials that would be stopped are audited: they run to completion, and count in the
test like all others. Every decision is a function of the ledger.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import beta

from search.record.trial import Decision, Rung, Trial
from search.record.view import View
from search.stopping.curve_model import MIN_TRIALS, Array, CurveModel
from search.stopping.table import AUDIT_SHARE

MAX_TESTED = 300  # finished trials, the latest, that the model is fitted to and tested on
PRIOR = 0.5  # of the beta distribution of the share of wrong stops: Jeffreys'


class StoppingTest(NamedTuple):
    """What the rule would have done to the finished trials at a rung.

    Args:
      stopped: how many it would have stopped.
      wrong: how many of these are on the front.
      loss: upper bound of the share of stopped trials that would be on the front.
      gain: how many members of the front the epochs of one stopped trial bring on average, spent on
        new trials.
    """

    stopped: int
    wrong: int
    loss: float
    gain: float

    @property
    def passed(self) -> bool:
        """True if stopping gains more than it costs."""
        return self.stopped > 0 and self.loss <= self.gain


@dataclass(frozen=True)
class Predictive:
    """Stops trials that will hardly reach the front, once finished trials show that this is safe.

    Args:
      chance: a trial is stopped if its predicted probability of being on the front is below this.
      confidence: of the bound on the share of wrong stops.
      audit: share of the would-be-stopped trials that run to completion as a check, in [0, 1].
      min_finished: how many trials must have finished after reaching a rung.
      seed: of the search; decides which trials are audited.

    Raises:
      ValueError: a setting is out of its range.
    """

    chance: float = 0.05
    confidence: float = 0.8
    audit: float = AUDIT_SHARE
    min_finished: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.chance < 1:
            raise ValueError(f"the chance must be in (0, 1), got {self.chance}")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"the confidence must be in [0.5, 1), got {self.confidence}")
        if not 0 <= self.audit <= 1:
            raise ValueError(f"the audit share must be in [0, 1], got {self.audit}")
        if self.min_finished < MIN_TRIALS:
            raise ValueError(f"min_finished must be {MIN_TRIALS} or more, got {self.min_finished}")

    def decide(self, view: View, number: int, rung: Rung) -> Decision:
        """Predict the final values of the trial, and test the rule on the finished trials."""
        if view.trials[number].audited:
            return Decision("audit", "audited since an earlier rung")
        done = [view.trials[n] for n in view.rungs.get(rung.key, ()) if n != number]
        done = [t for t in done if t.result][-MAX_TESTED:]
        if len(done) < self.min_finished:
            return Decision("go on", f"only {len(done)} trials have finished after this rung")
        model = _fit(done, rung)
        chance = model.predict(_features(rung), np.array(rung.point)).front_probability(
            _finals(view)
        )
        expected = f"on the front with probability {chance:.2f}"
        if chance >= self.chance:
            return Decision("go on", expected)
        test = self.test(view, done, rung, model)
        found = f"of {test.stopped} finished trials with so little, {test.wrong} ended there"
        if not test.passed:
            return Decision("go on", f"{expected}, but that is no proof yet: {found}")
        if random.Random(f"audit {self.seed} {number}").random() < self.audit:
            return Decision("audit", f"{expected}; {found}")
        return Decision("stop", f"{expected}; {found}")

    def test(
        self, view: View, done: Sequence[Trial], rung: Rung, model: CurveModel | None = None
    ) -> StoppingTest:
        """Apply the rule to the finished trials, each left out of the model in turn.

        A trial that is stopped at this rung would be on the front with the probability `loss` at
        most. Its remaining epochs train a share of a new trial, which is on the front as often as
        the trials of the search are: that is the `gain`.

        Args:
          view: of the ledger.
          done: the finished trials that have reached the rung.
          rung: of the trial that is to be decided upon.
          model: fitted to `done`; None fits it.
        """
        finals = _finals(view)
        on_front = {t.number for t in view.front()}
        chances = (model or _fit(done, rung)).left_out_probabilities(finals)
        ended = [t for t, chance in zip(done, chances, strict=True) if chance < self.chance]
        stopped, wrong = len(ended), sum(t.number in on_front for t in ended)
        loss = float(beta.ppf(self.confidence, wrong + PRIOR, stopped - wrong + PRIOR))
        last = done[-1].epochs
        epochs = last[max(last)].epochs if last else rung.epoch
        gain = (1 - rung.epoch / epochs) * len(on_front) / len(finals)
        return StoppingTest(stopped, wrong, loss, gain)

    def review(self, view: View) -> str:
        """Return "": the test is made anew at each decision, so nothing is ever relaxed."""
        return ""


def _features(rung: Rung) -> Array:
    """Return what the gain may depend on: both values, and how far the learning rate has fallen."""
    return np.array([*rung.point, 1.0 if rung.lr_share is None else rung.lr_share])


def _fit(done: Sequence[Trial], rung: Rung) -> CurveModel:
    rungs = [t.rungs[rung.key] for t in done]
    return CurveModel(
        np.array([_features(r) for r in rungs]),
        np.array([r.point for r in rungs]),
        np.array([t.result.point for t in done if t.result]),
    )


def _finals(view: View) -> Array:
    """Return the final values of the trials of which the front is computed, [n, 2]."""
    every = view.scored()
    done = [t for t in every if view.feasible(t)] or every
    return np.array([t.result.point for t in done if t.result])
