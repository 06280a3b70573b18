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

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record.constraints import excesses
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import View
from search.samplers.strategy import MAX_GP_TRIALS, Observed, Strategy
from search.surrogates.cost_model import COST_EXPONENT, CostModel, fit_cost_model
from spaces import Choice, Float, Knob, Params, Space, Value, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATES = {"finished": TrialState.COMPLETE, "running": TrialState.RUNNING}
STARTUP_TRIALS = 4  # finished trials below which Optuna's samplers draw at random
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
        self._storage.set_trial_state_values(key, STATES.get(trial.state, TrialState.FAIL), values)


class _Storage(optuna.storages.InMemoryStorage):
    """Optuna's storage, whose first trial is the blank one that every proposal is sampled for.

    Attributes that a sampler sets on it are dropped: they would make it look like a running trial.
    """

    blank = -1

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.blank:
            super().set_trial_system_attr(trial_id, key, value)


class CostAwareTPE(TPESampler):
    """TPE that divides the acquisition of its candidates by a power of their predicted cost.

    This is expected improvement per second (Snoek et al. 2012), but with a power of the seconds:
    the seconds themselves would starve large nets. The cost model is a product over the
    hyperparameters, so each group of hyperparameters is divided by its own factors.

    Hyperparameters that exist under the same conditions are sampled together. Optuna's own `group`
    finds the same groups by going through all trials for each proposal.
    """

    def __init__(self, space: Space, cost: CostModel | None, seed: int) -> None:
        super().__init__(
            multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS, seed=seed
        )
        self.space, self.cost = space, cost
        self.good_and_bad: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return all hyperparameters: each is sampled with its group."""
        found = {name: to_distribution(knob) for name, knob in self.space.knobs.items()}
        return {name: distribution for name, distribution in found.items()
                if not distribution.single()}  # fmt: skip

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample each group of hyperparameters."""
        groups: dict[str, dict[str, BaseDistribution]] = {}
        for name, kind in sorted(search_space.items()):
            groups.setdefault(repr(self.space.knobs[name].when), {})[name] = kind
        sampled: dict[str, Any] = {}
        for group in groups.values():
            sampled |= self._sample_relative(study, trial, group)
        return sampled

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample as Optuna does, but split the trials into good and bad once for all groups."""
        if self.good_and_bad is None:
            states = (TrialState.COMPLETE, TrialState.RUNNING)
            trials = study.get_trials(deepcopy=False, states=states)
            others = [t for t in trials if t.number != trial.number]
            done = sum(t.state == TrialState.COMPLETE for t in others)
            self.good_and_bad = _split_trials(study, others, default_gamma_multiobjective(done))
        good, bad = (
            self._build_parzen_estimator(study, search_space, part, handle_below=below)
            for part, below in zip(self.good_and_bad, (True, False), strict=True)
        )
        samples = good.sample(self._rng.rng, self._n_ei_candidates)
        acquisition = self._compute_acquisition_func(samples, good, bad)
        best = self._compare(samples, acquisition)
        return {name: kind.to_external_repr(best[name]) for name, kind in search_space.items()}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: Any
    ) -> dict[str, NDArray[Any]]:
        every = [trial.params for trial in trials]
        active = [params for params in every if search_space.keys() <= params.keys()]
        return {
            name: np.array([kind.to_internal_repr(params[name]) for params in active])
            for name, kind in search_space.items()
        }

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[Any]:
        acquisition = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        for name, values in samples.items() if self.cost else ():
            assert self.cost
            knob = self.space.knobs[name]
            if isinstance(knob, Choice):
                values = np.array(knob.options, dtype=object)[values.astype(int)]
            log_seconds = self.cost.log_factors(name, values.tolist())
            acquisition = acquisition - COST_EXPONENT * log_seconds
        return acquisition


def make_tpe(space: Space, seed: int, cost: CostModel | None) -> BaseSampler:
    """Make a tree-structured Parzen estimator (Bergstra et al. 2011; Ozaki et al. 2022)."""
    return CostAwareTPE(space, cost, seed)


def make_gp(space: Space, seed: int, cost: CostModel | None) -> BaseSampler:  # noqa: ARG001
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


def to_optuna_trial(space: Space, trial: Trial, header: StudyHeader) -> FrozenTrial:
    """Return a trial in Optuna's form; a stopped trial counts as failed, without values."""
    return create_trial(
        params=dict(trial.params),
        distributions={name: to_distribution(knob) for name, knob in space.active(trial.params)},
        state=STATES.get(trial.state, TrialState.FAIL),
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


TPE = Strategy(lambda space, observed: OptunaSampler(space, make_tpe, observed).propose_params)
GP = Strategy(
    lambda space, observed: OptunaSampler(space, make_gp, observed).propose_params, check=check_gp
)
