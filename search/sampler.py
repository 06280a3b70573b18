"""What to try next: a pure function of the space, the seed and the ledger's view.

The space's known points come first, then a Sobol sequence, then Optuna's multivariate, grouped
tree-structured Parzen estimator (Bergstra et al. 2011; two objectives as in Ozaki et al. 2022) with
a constant liar for the trials still running. Nothing is remembered between two proposals, so a
resumed search proposes what the interrupted one would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import qmc

from search.ledger import View
from search.trial import Trial
from spaces import Choice, Float, Knob, Params, Space, Value, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)


def propose(space: Space, view: View, *, seed: int, start: int) -> tuple[Params, str]:
    """The next point to try, and where it comes from: "known", "sobol" or "tpe".

    Args:
      space: what may be varied.
      view: all that is known so far; running trials count as points not to repeat.
      seed: of the whole search.
      start: how many points are tried before the estimator takes over, known ones included.
    """
    number = len(view.trials)
    if number < len(space.known):
        return space.known[number], "known"
    if number < start:
        return _sobol(space, number - len(space.known), seed), "sobol"
    return _tpe(space, list(view.trials.values()), seed + number), "tpe"


def _sobol(space: Space, index: int, seed: int) -> Params:
    """Point `index` of a scrambled Sobol sequence over the knobs; inactive knobs fall away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance needs powers of two points
        points = qmc.Sobol(len(space.knobs), rng=seed).random(index + 1)
    position = dict(zip(space.knobs, points[-1], strict=True))
    params: dict[str, Value] = {}
    for name, knob in space.knobs.items():
        if exists(knob, params):
            params[name] = knob.at(float(position[name]))
    return params


def _tpe(space: Space, trials: Sequence[Trial], seed: int) -> Params:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
        sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=4, seed=seed
        )
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    study.add_trials([optuna_trial(space, trial) for trial in trials])
    ask = study.ask()
    for name, knob in space.knobs.items():
        if exists(knob, ask.params):
            _suggest(ask, name, knob)
    return dict(ask.params)


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
