"""Optuna's samplers over the ledger: a study in memory that follows the view.

Optuna's study holds the trials in the ledger's order and no more than the ledger says of them, and
each proposal is drawn by a sampler made anew from a seed. So a study that has been kept up to date
proposes what one built from scratch does; it is kept only because building one of 5,000 trials
takes seconds.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record.constraints import excesses
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.surrogates.cost_model import COST_EXPONENT, Cost, fitted
from spaces import Choice, Float, Knob, Params, Space, Value, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATES = {"finished": TrialState.COMPLETE, "running": TrialState.RUNNING}
FEW = 4  # finished trials below which a sampler draws at random


class Follower:
    """Proposes by one of Optuna's samplers.

    Args:
      space: what may be varied.
      name: of the sampler, a key of `SAMPLERS`.
      before: finished trials of earlier studies under the same battery, as (point, result).
    """

    def __init__(
        self, space: Space, name: str, before: Sequence[tuple[Params, TrialResult]] = ()
    ) -> None:
        self.space = space
        self.make = SAMPLERS[name]
        self.before = before
        self._view: View | None = None

    def draw(self, view: View, chance: random.Random) -> Params:
        """A point that no trial runs at; running trials count as if they had turned out badly."""
        self._follow(view)
        cost = fitted(self.space, list(view.trials.values()))
        with _quiet():
            return self._ask(self.make(self.space, chance.getrandbits(32), cost))

    def _ask(self, sampler: BaseSampler) -> Params:
        """What `study.ask` does, without leaving a trial behind."""
        study, blank = self._study, self._blank
        sampler.before_trial(study, blank)
        joint = sampler.infer_relative_search_space(study, blank)
        drawn = sampler.sample_relative(study, blank, joint)
        params: dict[str, Value] = {}
        for name, knob in self.space.knobs.items():
            if exists(knob, params):
                kind = distribution(knob)
                if kind.single():
                    params[name] = knob.at(0.0)
                elif name in drawn:
                    params[name] = drawn[name]
                else:
                    params[name] = sampler.sample_independent(study, blank, name, kind)
        return params

    def _follow(self, view: View) -> None:
        """Bring the study up to date, or begin anew where it followed another view."""
        trials = list(view.trials.values())
        if view is not self._view or not self._still(trials):
            self._begin(view)
        for i, trial in enumerate(trials):
            if i >= len(self._told):
                self._study.add_trial(optuna_trial(self.space, trial, view.header))
                self._told.append(trial.result or trial.state)
            elif self._told[i] == "running" and trial.state != "running":
                self._end(len(self.before) + 1 + i, trial, view.header)
                self._told[i] = trial.result or trial.state

    def _still(self, trials: Sequence[Trial]) -> bool:
        """Whether what was told of trials that have ended is what the view still says."""
        return len(self._told) <= len(trials) and all(
            told == "running" or told is (trial.result or trial.state)
            for told, trial in zip(self._told, trials, strict=False)
        )

    def _begin(self, view: View) -> None:
        self._view, self._told = view, list[Any]()
        self._notes = _Notes()
        with _quiet():
            self._study = optuna.create_study(
                directions=["maximize", "maximize"], storage=self._notes
            )
            self._blank = self._study.ask()._cached_frozen_trial
        self._notes.blank = self._blank._trial_id
        for n, (params, result) in enumerate(self.before):
            trial = Trial(-1 - n, params, 0, "warm", "finished", result=result)
            self._study.add_trial(optuna_trial(self.space, trial, view.header))

    def _end(self, number: int, trial: Trial, header: StudyHeader) -> None:
        key = self._study.get_trials(deepcopy=False)[number]._trial_id
        values = trial.result.point if trial.result else None
        if trial.result:
            for name, excess in excesses(trial.result, header).items():
                self._notes.set_trial_system_attr(key, f"constraints:{name}", excess)
        self._notes.set_trial_state_values(key, STATES.get(trial.state, TrialState.FAIL), values)


class _Notes(optuna.storages.InMemoryStorage):
    """Optuna's storage, whose first trial is the blank one that each proposal is asked for.

    What a sampler notes of it is dropped: it would be taken for a trial that runs.
    """

    blank = -1

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.blank:
            super().set_trial_system_attr(trial_id, key, value)


class Thrifty(TPESampler):
    """TPE that prefers, of several draws, the most promising for what it is predicted to cost.

    As the expected improvement per second (Snoek et al. 2012), with a power of the seconds: whole
    ones would starve large nets. Costs are a product over the knobs, so they divide the promise of
    each group of knobs by that group's own share.

    Knobs that exist under the same conditions are drawn together; Optuna's own `group` finds the
    same groups by going through all trials for each proposal.
    """

    def __init__(self, space: Space, cost: Cost | None, seed: int) -> None:
        super().__init__(multivariate=True, constant_liar=True, n_startup_trials=FEW, seed=seed)
        self.space, self.cost = space, cost
        self.halves: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All knobs: each is drawn with its group."""
        kinds = {name: distribution(knob) for name, knob in self.space.knobs.items()}
        return {name: kind for name, kind in kinds.items() if not kind.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Group by group."""
        groups: dict[str, dict[str, BaseDistribution]] = {}
        for name, kind in sorted(search_space.items()):
            groups.setdefault(repr(self.space.knobs[name].when), {})[name] = kind
        drawn: dict[str, Any] = {}
        for group in groups.values():
            drawn |= self._sample_relative(study, trial, group)
        return drawn

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's, which divides all trials into good and bad once for each group."""
        if self.halves is None:
            states = (TrialState.COMPLETE, TrialState.RUNNING)
            trials = study.get_trials(deepcopy=False, states=states)
            told = [t for t in trials if t.number != trial.number]
            done = sum(t.state == TrialState.COMPLETE for t in told)
            self.halves = _split_trials(study, told, default_gamma_multiobjective(done))
        good, bad = (
            self._build_parzen_estimator(study, search_space, half, handle_below=below)
            for half, below in zip(self.halves, (True, False), strict=True)
        )
        samples = good.sample(self._rng.rng, self._n_ei_candidates)
        promise = self._compute_acquisition_func(samples, good, bad)
        chosen = self._compare(samples, promise)
        return {name: kind.to_external_repr(chosen[name]) for name, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Any
    ) -> dict[str, NDArray[Any]]:
        points = [trial.params for trial in trials]
        points = [point for point in points if search_space.keys() <= point.keys()]
        return {
            name: np.array([kind.to_internal_repr(point[name]) for point in points])
            for name, kind in search_space.items()
        }

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[Any]:
        promise = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        for name, values in samples.items() if self.cost else ():
            assert self.cost
            knob = self.space.knobs[name]
            if isinstance(knob, Choice):
                values = np.array(knob.options, dtype=object)[values.astype(int)]
            promise = promise - COST_EXPONENT * self.cost.part(name, values.tolist())
        return promise


def tpe(space: Space, seed: int, cost: Cost | None) -> BaseSampler:
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Ozaki et al. 2022 for two values)."""
    return Thrifty(space, cost, seed)


def gp(space: Space, seed: int, cost: Cost | None) -> BaseSampler:  # noqa: ARG001
    """Gaussian processes and the expected gain of hypervolume, noise learned from the values."""
    return GPSampler(seed=seed, n_startup_trials=FEW)


SAMPLERS: Mapping[str, Callable[[Space, int, Cost | None], BaseSampler]] = {"tpe": tpe, "gp": gp}


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
        yield


def optuna_trial(space: Space, trial: Trial, header: StudyHeader) -> FrozenTrial:
    """A trial as Optuna sees it; one that was stopped or failed has no value to learn from."""
    return create_trial(
        params=dict(trial.params),
        distributions={name: distribution(knob) for name, knob in space.active(trial.params)},
        state=STATES.get(trial.state, TrialState.FAIL),
        values=trial.result.point if trial.result else None,
        constraints=excesses(trial.result, header) if trial.result else None,
    )


def distribution(knob: Knob) -> BaseDistribution:
    """A knob as Optuna sees it."""
    if isinstance(knob, Choice):
        return CategoricalDistribution(knob.options)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    return IntDistribution(knob.low, knob.high, log=knob.log)
