"""Trials and hyperparameters in Optuna's form."""

from __future__ import annotations

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record.constraints import excesses
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from spaces import Choice, Float, Knob, Space

STATES = {"finished": TrialState.COMPLETE, "running": TrialState.RUNNING}


def to_optuna_state(trial: Trial) -> TrialState:
    """Return a trial's state in Optuna's form.

    Trials without a result, such as stopped ones, count as failed.
    """
    if trial.state == "finished" and trial.result is None:
        return TrialState.FAIL
    return STATES.get(trial.state, TrialState.FAIL)


def to_optuna_trial(space: Space, trial: Trial, header: StudyHeader) -> FrozenTrial:
    """Return a trial in Optuna's form; a stopped trial counts as failed, without values."""
    return create_trial(
        params=dict(trial.params),
        distributions={name: to_distribution(knob) for name, knob in space.active(trial.params)},
        state=to_optuna_state(trial),
        values=trial.result.point if trial.result else None,
        constraints=excesses(trial.result, header) if trial.result else None,
    )


def to_distribution(knob: Knob) -> BaseDistribution:
    """Return a hyperparameter's range as an Optuna distribution."""
    if isinstance(knob, Choice):
        return CategoricalDistribution(knob.options)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    return IntDistribution(knob.low, knob.high, log=knob.log)
