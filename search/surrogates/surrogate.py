"""The surrogate model of both objectives, fitted to all fidelities in a ledger's view."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Key, Rung, Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.surrogates.encoding import columns_of, encode_params, encode_positions
from search.surrogates.expected_hypervolume import correlated_improvement
from search.surrogates.front_model import MIN_RESULTS, FrontModel, known_trials
from search.surrogates.gaussian_process import (
    Columns,
    GaussianProcess,
    KernelParams,
    Observations,
    fit_kernel,
)
from search.surrogates.robust_scale import robust_scale
from search.surrogates.skill import mean_rank_correlation, rank_skill
from spaces import Params, Space

Array = NDArray[np.float64]
Index = NDArray[np.intp]
ORIGINS = ("kriging", "ensemble")  # of the trials that this model has chosen
GROWTH = 1.4  # the kernel is fitted again when there are so many times more results
CERTAIN = 10  # trials for which the correlation of the errors is taken as half of what is found
MAX_FITTED = 300  # values that the kernel is fitted to; the posterior is of all of them
MAX_AT_RUNGS = 150  # values at rungs; beyond that the oldest are left out


class Surrogate(FrontModel):
    """A Gaussian process for each objective, on `robust_scale`.

    Final values are scaled by the finished trials, values at a rung by those at that rung.

    Running trials count with their values at rungs. Their final value is imputed by its posterior
    mean (the kriging believer of Ginsbourger et al. 2010), so that no two workers are sent after
    the same gain.

    Args:
      space: the search space.
      view: of the ledger.
      observed: finished trials of earlier studies under the same battery. Together with those of
        the view there must be at least `MIN_RESULTS`.

    Attributes:
      skill: the probability in [0, 1] that the processes rank trials usefully well that were left
        out (`search.surrogates.skill`), one at a time with all its rungs. Only trials that this
        model did not choose count: those that it chose lie where it is surest.
      correlation: of the errors of both objectives for trials that are left out, pulled to 0 while
        there are few.
      known_means: [n, 2] posterior means of the feasible finished trials (of all finished trials if
        none is feasible) and of the running ones, scaled.
    """

    def __init__(
        self, space: Space, view: View, observed: Sequence[tuple[Params, TrialResult]] = ()
    ) -> None:
        self.space = space
        self.columns = columns_of(space)
        trials = [trial for _, trial in sorted(view.trials.items())]
        self.done = known_trials(view, observed)
        at_rungs = [(t, key, rung) for t in trials for key, rung in t.rungs.items()]
        self.processes = self._fit(at_rungs[-MAX_AT_RUNGS:])
        self.feasible = np.array([view.feasible(t) for t in self.done])
        self.encoded_done = self.processes[0].data.x[: len(self.done)]
        self.mean = self._predict(self.encoded_done)[0]
        self.known_means = self.mean[self.feasible] if self.feasible.any() else self.mean
        running = [t.params for t in trials if t.state == "running"]
        if running:
            self._impute(encode_params(space, running))

    def _fit(self, at_rungs: Sequence[tuple[Trial, Key, Rung]]) -> list[GaussianProcess]:
        """Return a process for each objective, and set `skill`."""
        keys: list[Key] = sorted({key for _, key, _ in at_rungs})
        configurations = [*(t.params for t in self.done), *(t.params for t, *_ in at_rungs)]
        x = encode_params(self.space, configurations)
        fidelity = np.array(
            [0] * len(self.done) + [1 + keys.index(key) for _, key, _ in at_rungs], dtype=np.intp
        )
        points = [t.result.point for t in self.done if t.result]
        values = np.array([*points, *(rung.point for *_, rung in at_rungs)])
        cutoff = _last_fit_time(self.done)
        ended = np.array([t.ended for t in self.done] + [t.ended or np.inf for t, *_ in at_rungs])
        fitted = _thin(np.flatnonzero(ended <= cutoff), fidelity)
        self.constant = np.array([np.ptp(y) == 0 for y in values[: len(points)].T])
        processes = []
        for y in values.T:
            params = _fit_once(
                x[fitted].tobytes(),
                fidelity[fitted].tobytes(),
                _scaled(y[fitted], fidelity[fitted]).tobytes(),
                self.columns,
                1 + len(keys),
            )
            observations = Observations(x, fidelity, _scaled(y, fidelity))
            processes.append(GaussianProcess(observations, params, self.columns))
        numbers = [*(t.number for t in self.done), *(t.number for t, *_ in at_rungs)]
        self._assess(processes, np.array(numbers, dtype=np.intp))
        return processes

    def _assess(self, processes: Sequence[GaussianProcess], numbers: Index) -> None:
        """Leave each finished trial out; set `skill`, `accuracy` and `correlation`."""
        done = len(self.done)
        measured = np.stack([p.data.y[:done] for p in processes], 1)
        missed = np.stack([p.loo_residuals(numbers)[:done] for p in processes], 1)
        others = np.flatnonzero([t.origin not in ORIGINS for t in self.done])
        predicted, seen = (measured - missed)[others], measured[others]
        self.skill, self.accuracy = (
            rank_skill(predicted, seen),
            mean_rank_correlation(predicted, seen),
        )
        product, squares = (missed[:, 0] * missed[:, 1]).sum(), (missed**2).sum(axis=0)
        found = float(product / np.sqrt(squares.prod() + 1e-12))
        self.correlation = max(-0.95, min(0.95, found * done / (done + CERTAIN)))

    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the final objectives at n positions, [n, 2]."""
        return self._predict(encode_positions(self.space, positions))

    def expected_gain(self, positions: Array) -> Array:
        """Return the expected gain in hypervolume over the front of `known_means`, [n]."""
        mean, sd = self.predict(positions)
        return correlated_improvement(
            mean, sd, self.correlation, self.known_means, self.reference_point
        )

    def _predict(self, x: Array) -> tuple[Array, Array]:
        both = [process.predict(x) for process in self.processes]
        mean, sd = np.stack([b[0] for b in both], 1), np.stack([b[1] for b in both], 1)
        # Nothing is to be gained in an objective that has been the same in every trial.
        return np.where(self.constant, 0.0, mean), np.where(self.constant, 1e-3, sd)

    def _impute(self, x: Array) -> None:
        """Add the posterior mean of running trials as if it were their final value."""
        mean = self._predict(x)[0]
        end = np.zeros(len(x), dtype=np.intp)
        for i, p in enumerate(self.processes):
            more = Observations(
                np.concatenate([p.data.x, x]),
                np.concatenate([p.data.fidelity, end]),
                np.concatenate([p.data.y, mean[:, i]]),
            )
            self.processes[i] = GaussianProcess(more, p.params, self.columns)
        self.known_means = np.concatenate([self.known_means, mean])

    def feasibility(self, positions: Array) -> Array:
        """Return the probability that a trial at each of n positions is feasible, [n].

        It is the share of feasible ones among the finished trials, weighted by the kernel.
        """
        if self.feasible.all():
            return np.ones(len(positions))
        params, encoded = self.processes[0].params, encode_positions(self.space, positions)
        similarity = params.similarity(encoded, self.encoded_done, self.columns)
        return np.asarray((similarity @ self.feasible + 0.5) / (similarity.sum(axis=1) + 0.5))


def _scaled(y: Array, fidelity: Index) -> Array:
    """Return scaled values, each by those of its own fidelity."""
    scores = np.empty(len(y))
    for f in np.unique(fidelity):
        scores[fidelity == f] = robust_scale(y[fidelity == f])
    return scores


def _thin(rows: Index, fidelity: Index) -> Index:
    """Return all rows, or `MAX_FITTED` of them: the same share of each fidelity."""
    if len(rows) <= MAX_FITTED:
        return rows
    by_fidelity = rows[np.argsort(fidelity[rows], kind="stable")]
    return np.sort(by_fidelity[np.linspace(0, len(rows) - 1, MAX_FITTED).astype(np.intp)])


def _last_fit_time(done: list[Trial]) -> float:
    """Return when the kernel was last due to be fitted: after 4, 6, 9, 13, ... finished trials."""
    count = MIN_RESULTS
    while int(count * GROWTH) + 1 <= len(done):
        count = int(count * GROWTH) + 1
    return sorted(t.ended for t in done)[count - 1]


@lru_cache(maxsize=64)
def _fit_once(
    x: bytes, fidelity: bytes, y: bytes, columns: Columns, fidelities: int
) -> KernelParams:
    """Cache `fit_kernel`: a proposal between two fits has the same observations to fit to."""
    rows = np.frombuffer(x).reshape(-1, len(columns.knob))
    data = Observations(rows, np.frombuffer(fidelity, dtype=np.intp), np.frombuffer(y))
    return fit_kernel(data, columns, fidelities)
