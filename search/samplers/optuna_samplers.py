"""Optuna's samplers over the ledger: an Optuna study in memory mirrors the view.

The Optuna study holds the trials in the ledger's order and nothing that the ledger does not say,
and a new sampler is seeded for each proposal. So a study that is kept up to date proposes what one
built from scratch would; it is kept only because building one of 5,000 trials takes seconds.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from search.record.constraints import excesses
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import View
from search.samplers.cost_aware_tpe import STARTUP_TRIALS, CostAwareTPE
from search.samplers.optuna_conversion import (
    to_distribution,
    to_optuna_state,
    to_optuna_trial,
)
from search.samplers.strategy import MAX_GP_TRIALS, Observed, Strategy
from search.surrogates.cost_model import CostModel, fit_cost_model
from spaces import Params, Space, Value, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)
MakeSampler = Callable[[Space, int, CostModel | None], BaseSampler]
"""Makes one of Optuna's samplers for a space, from a seed and, if there is one, a cost model."""


class OptunaSampler:
    """Proposes by one of Optuna's samplers.

    Args:
      space: the search space.
      make: makes the sampler of one proposal.
      observed: finished trials of earlier studies under the same battery.
    """

    def __init__(self, space: Space, make: MakeSampler, observed: Observed = ()) -> None:
        self.space = space
        self.make = make
        self.observed = observed
        self._view: View | None = None

    def propose_params(self, view: View, rng: random.Random) -> Params:
        """Return a configuration that no running trial has.

        Running trials count as if they had turned out badly ("constant liar").
        """
        self._synchronise(view)
        cost = fit_cost_model(self.space, list(view.trials.values()))
        with _without_experimental_warnings():
            return self._ask(self.make(self.space, rng.getrandbits(32), cost))

    def _ask(self, sampler: BaseSampler) -> Params:
        """Do what `study.ask` does, without leaving a trial in the study."""
        study, blank = self._study, self._blank
        sampler.before_trial(study, blank)
        joint = sampler.infer_relative_search_space(study, blank)
        sampled = sampler.sample_relative(study, blank, joint)
        params: dict[str, Value] = {}
        for name, knob in self.space.knobs.items():
            if exists(knob, params):
                distribution = to_distribution(knob)
                if distribution.single():
                    params[name] = knob.at(0.0)
                elif name in sampled:
                    params[name] = sampled[name]
                else:
                    params[name] = sampler.sample_independent(study, blank, name, distribution)
        return params

    def _synchronise(self, view: View) -> None:
        """Bring the study up to date, or build a new one if it mirrors another view."""
        trials = list(view.trials.values())
        if view is not self._view or not self._is_prefix_of(trials):
            self._begin(view)
        for i, trial in enumerate(trials):
            if i >= len(self._seen):
                self._study.add_trial(to_optuna_trial(self.space, trial, view.header))
                self._seen.append(trial.result or trial.state)
            elif self._seen[i] == "running" and trial.state != "running":
                self._end(len(self.observed) + 1 + i, trial, view.header)
                self._seen[i] = trial.result or trial.state

    def _is_prefix_of(self, trials: Sequence[Trial]) -> bool:
        """Return True if all trials that the study holds as ended are still as they were then."""
        return len(self._seen) <= len(trials) and all(
            seen == "running" or seen is (trial.result or trial.state)
            for seen, trial in zip(self._seen, trials, strict=False)
        )

    def _begin(self, view: View) -> None:
        self._view, self._seen = view, list[Any]()
        self._storage = _Storage()
        with _without_experimental_warnings():
            self._study = optuna.create_study(
                directions=["maximize", "maximize"], storage=self._storage
            )
            self._blank = self._study.ask()._cached_frozen_trial
        self._storage.blank = self._blank._trial_id
        for n, (params, result) in enumerate(self.observed):
            trial = Trial(-1 - n, params, 0, "warm", "finished", result=result)
            self._study.add_trial(to_optuna_trial(self.space, trial, view.header))

    def _end(self, number: int, trial: Trial, header: StudyHeader) -> None:
        key = self._study.get_trials(deepcopy=False)[number]._trial_id
        values = trial.result.point if trial.result else None
        if trial.result:
            for name, excess in excesses(trial.result, header).items():
                self._storage.set_trial_system_attr(key, f"constraints:{name}", excess)
        self._storage.set_trial_state_values(key, to_optuna_state(trial), values)


class _Storage(optuna.storages.InMemoryStorage):
    """Optuna's storage, whose first trial is the blank one that every proposal is sampled for.

    Attributes that a sampler sets on it are dropped: they would make it look like a running trial.
    """

    blank = -1

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.blank:
            super().set_trial_system_attr(trial_id, key, value)


def make_tpe(space: Space, seed: int, cost: CostModel | None) -> BaseSampler:
    """Make a tree-structured Parzen estimator (Bergstra et al. 2011; Ozaki et al. 2022)."""
    return CostAwareTPE(space, cost, seed)


def make_gp(space: Space, seed: int, cost: CostModel | None) -> BaseSampler:  # noqa: ARG001 - a common signature
    """Make Optuna's Gaussian processes, which maximise the expected hypervolume improvement."""
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)


def check_gp(space: Space, trials: int) -> None:
    """Raise ValueError if Optuna's Gaussian processes cannot model the space or so many trials."""
    for name, knob in space.knobs.items():
        if knob.when:
            raise ValueError(
                f"--sampler gp needs a space without conditional hyperparameters, but {name!r} is "
                "one: take tpe"
            )
    if trials > MAX_GP_TRIALS:
        raise ValueError(
            f"--sampler gp is for up to {MAX_GP_TRIALS} trials, not {trials}: take tpe"
        )


@contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate TPE
        yield


TPE = Strategy(lambda space, observed: OptunaSampler(space, make_tpe, observed).propose_params)
GP = Strategy(
    lambda space, observed: OptunaSampler(space, make_gp, observed).propose_params, check=check_gp
)
