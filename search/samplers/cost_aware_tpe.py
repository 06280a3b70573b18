"""TPE that takes the predicted cost of a configuration into account."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
)
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import FrozenTrial, TrialState

from search.samplers.optuna_conversion import to_distribution
from search.surrogates.cost_model import COST_EXPONENT, CostModel
from spaces import Choice, Space

STARTUP_TRIALS = 4  # finished trials below which Optuna's samplers draw at random


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
        return {
            name: distribution for name, distribution in found.items() if not distribution.single()
        }

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
