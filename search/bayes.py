"""Optuna's samplers over the ledger: a study in memory that follows the view.

Optuna's study holds the trials in the ledger's order and no more than the ledger says of them, and
each proposal is drawn by a sampler made anew from a seed. So a study that has been kept up to date
proposes what one built from scratch does; it is kept only because building one of 5,000 trials
takes seconds.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.ledger import View
from search.trial import Trial
from spaces import Choice, Float, Knob, Params, Space, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Follower:
    """Proposes by one of Optuna's samplers.

    Args:
      space: what may be varied.
      name: of the sampler, a key of `SAMPLERS`.
    """

    def __init__(self, space: Space, name: str) -> None:
        self.space = space
        self.sampler = SAMPLERS[name]

    def draw(self, view: View, chance: random.Random) -> Params:
        """A point that no trial runs at; running trials count as if they had turned out badly."""
        study = optuna.create_study(
            directions=["maximize", "maximize"], sampler=self.sampler(chance.getrandbits(32))
        )
        study.add_trials([optuna_trial(self.space, trial) for trial in view.trials.values()])
        ask = study.ask()
        for name, knob in self.space.knobs.items():
            if exists(knob, ask.params):
                _suggest(ask, name, knob)
        return dict(ask.params)


def tpe(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Ozaki et al. 2022 for two values)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
        return TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=4, seed=seed
        )


def gp(seed: int) -> BaseSampler:
    """Gaussian processes and the expected gain of hypervolume, noise learned from the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return GPSampler(seed=seed, n_startup_trials=4)


SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "gp": gp}


def _suggest(ask: optuna.Trial, name: str, knob: Knob) -> None:
    if isinstance(knob, Choice):
        ask.suggest_categorical(name, knob.options)
    elif isinstance(knob, Float):
        ask.suggest_float(name, knob.low, knob.high, log=knob.log)
    else:
        ask.suggest_int(name, knob.low, knob.high, log=knob.log)


def optuna_trial(space: Space, trial: Trial) -> FrozenTrial:
    """A trial as Optuna sees it; one that was stopped or failed has no value to learn from."""
    states = {"finished": TrialState.COMPLETE, "running": TrialState.RUNNING}
    return create_trial(
        params=dict(trial.params),
        distributions={name: _distribution(knob) for name, knob in space.active(trial.params)},
        state=states.get(trial.state, TrialState.FAIL),
        values=trial.result.point if trial.result else None,
    )


def _distribution(knob: Knob) -> BaseDistribution:
    if isinstance(knob, Choice):
        return CategoricalDistribution(knob.options)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    return IntDistribution(knob.low, knob.high, log=knob.log)
