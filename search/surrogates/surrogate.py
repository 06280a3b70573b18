"""The surrogate model of both objectives, fitted to all fidelities in a ledger's view."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.record.pareto import front
from search.record.trial import Key, Rung, Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.surrogates.encoding import encode_params, encode_positions, knob_of_column
from search.surrogates.gaussian_process import (
    GaussianProcess,
    KernelParams,
    Observations,
    fit_kernel,
)
from spaces import Params, Space

Array = NDArray[np.float64]
Index = NDArray[np.intp]
MODEL_FREE = ("known", "sobol", "random", "warm")  # origins of trials that no model proposed
MIN_RESULTS = 4  # below them nothing is fitted
GROWTH = 1.4  # the kernel is fitted again when there are so many times more results
MARGIN = 1.0  # distance of the reference point below the front, in ranges of the front
MAX_RESULTS = 400  # finished trials, and values at rungs; beyond that the oldest are left out


class Surrogate:
    """A Gaussian process for each objective, on values standardised by the finished trials.

    Running trials count with their values at rungs. Their final value is imputed by its posterior
    mean (the kriging believer of Ginsbourger et al. 2010), so that no two workers are sent after
    the same gain.

    Args:
      space: the search space.
      view: of the ledger.
      observed: finished trials of earlier studies under the same battery. Together with those of
        the view there must be at least `MIN_RESULTS`.

    Attributes:
      loo_r2: cross-validated share of the variance that the processes explain, at most 1.
      known_means: [n, 2] posterior means of the feasible finished trials (of all finished trials if
        none is feasible) and of the running ones, standardised.
    """

    def __init__(
        self, space: Space, view: View, observed: Sequence[tuple[Params, TrialResult]] = ()
    ) -> None:
        self.space = space
        self.columns = knob_of_column(space)
        trials = [trial for _, trial in sorted(view.trials.items())]
        earlier = [
            Trial(-1 - n, p, 0, "warm", "finished", result=r) for n, (p, r) in enumerate(observed)
        ]
        finished = [t for t in trials if t.state == "finished" and t.result]
        self.done = _limit([*earlier, *finished])
        at_rungs = [(t, key, rung) for t in trials for key, rung in t.rungs.items()]
        self.processes = self._fit(at_rungs[-MAX_RESULTS:])
        self.feasible = np.array([view.feasible(t) for t in self.done])
        self.encoded_done = self.processes[0].data.x[: len(self.done)]
        self.mean = self._predict(self.encoded_done)[0]
        self.known_means = self.mean[self.feasible] if self.feasible.any() else self.mean
        running = [t.params for t in trials if t.state == "running"]
        if running:
            self._impute(encode_params(space, running))

    def _fit(self, at_rungs: Sequence[tuple[Trial, Key, Rung]]) -> list[GaussianProcess]:
        """Return a process for each objective, and set `loo_r2`."""
        points = np.array([t.result.point for t in self.done if t.result])
        cutoff = _last_fit_time(self.done)
        early = np.array([t.ended <= cutoff for t in self.done])
        shift, unit = points[early].mean(axis=0), points[early].std(axis=0) + 1e-9
        keys: list[Key] = sorted({key for _, key, _ in at_rungs})
        configurations = [*(t.params for t in self.done), *(t.params for t, *_ in at_rungs)]
        x = encode_params(self.space, configurations)
        fidelity = np.array(
            [0] * len(self.done) + [1 + keys.index(key) for _, key, _ in at_rungs], dtype=np.intp
        )
        values = (np.array([*points, *(rung.point for *_, rung in at_rungs)]) - shift) / unit
        early_rungs = [0 < t.ended <= cutoff for t, *_ in at_rungs]
        fitted = np.concatenate([early, early_rungs]).astype(bool)
        processes = []
        for y in values.T:
            params = _fit_once(
                x[fitted].tobytes(),
                fidelity[fitted].tobytes(),
                y[fitted].tobytes(),
                tuple(self.columns),
                1 + len(keys),
            )
            processes.append(GaussianProcess(Observations(x, fidelity, y), params, self.columns))
        numbers = [*(t.number for t in self.done), *(t.number for t, *_ in at_rungs)]
        self.loo_r2 = _loo_r2(processes, self.done, np.array(numbers, dtype=np.intp))
        return processes

    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the final objectives at n positions, [n, 2]."""
        return self._predict(encode_positions(self.space, positions))

    def _predict(self, x: Array) -> tuple[Array, Array]:
        both = [process.predict(x) for process in self.processes]
        return np.stack([b[0] for b in both], 1), np.stack([b[1] for b in both], 1)

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

    @property
    def reference_point(self) -> Array:
        """A reference point below the front of `known_means`, so far that its ends count."""
        best = self.known_means[front(self.known_means)]
        span = np.maximum(np.ptp(best, axis=0), 0.5)
        return np.asarray(best.min(axis=0) - MARGIN * span)

    @property
    def pareto_params(self) -> list[Params]:
        """Configurations of the finished trials on the front of posterior means.

        Only feasible trials count, if there are any.
        """
        feasible = self.feasible if self.feasible.any() else ~self.feasible
        done = [t for t, keep in zip(self.done, feasible, strict=True) if keep]
        on_front = front(self.mean[feasible])
        return [t.params for t, keep in zip(done, on_front, strict=True) if keep]

    def feasibility(self, positions: Array) -> Array:
        """Return the probability that a trial at each of n positions is feasible, [n].

        It is the share of feasible ones among the finished trials, weighted by the kernel.
        """
        if self.feasible.all():
            return np.ones(len(positions))
        params, encoded = self.processes[0].params, encode_positions(self.space, positions)
        similarity = params.matern(encoded, self.encoded_done, self.columns)
        return np.asarray((similarity @ self.feasible + 0.5) / (similarity.sum(axis=1) + 0.5))


def _loo_r2(processes: Sequence[GaussianProcess], done: Sequence[Trial], numbers: Index) -> float:
    """Return the cross-validated R^2 of the final values, the mean over both objectives.

    One trial is left out at a time, with all its rungs. 0 is no better than the mean. Only trials
    that no model proposed count: those that the model chose lie where it is surest.

    Args:
      processes: one for each objective.
      done: the finished trials, whose final values come first in the data of the processes.
      numbers: [n], the trial of each observation.
    """
    free = np.flatnonzero([t.origin in MODEL_FREE for t in done])
    if len(free) < MIN_RESULTS:
        return 0.0
    r2 = []
    for process in processes:
        residuals = process.loo_residuals(numbers)[free]
        values = process.data.y[free]
        # The mean is left out in the same way: it does not know the value that it predicts either.
        baseline = len(free) / (len(free) - 1) * (values - values.mean())
        r2.append(1 - float((residuals**2).sum() / ((baseline**2).sum() + 1e-9)))
    return sum(r2) / len(r2)


def _limit(done: list[Trial]) -> list[Trial]:
    """Return all trials, or the latest `MAX_RESULTS` and the front if there are more."""
    if len(done) <= MAX_RESULTS:
        return done
    on_front = front([t.result.point for t in done if t.result])
    return [t for i, t in enumerate(done) if on_front[i] or i >= len(done) - MAX_RESULTS]


def _last_fit_time(done: list[Trial]) -> float:
    """Return when the kernel was last due to be fitted: after 4, 6, 9, 13, ... finished trials."""
    count = MIN_RESULTS
    while int(count * GROWTH) + 1 <= len(done):
        count = int(count * GROWTH) + 1
    return sorted(t.ended for t in done)[count - 1]


@lru_cache(maxsize=64)
def _fit_once(
    x: bytes, fidelity: bytes, y: bytes, columns: tuple[int, ...], fidelities: int
) -> KernelParams:
    """Cache `fit_kernel`: a proposal between two fits has the same observations to fit to."""
    rows = np.frombuffer(x).reshape(-1, len(columns))
    data = Observations(rows, np.frombuffer(fidelity, dtype=np.intp), np.frombuffer(y))
    return fit_kernel(data, columns, fidelities)
