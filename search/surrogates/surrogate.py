"""What is believed about every point, given a ledger's view: both objectives, all fidelities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.record.pareto import front
from search.record.trial import Key, Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.surrogates.encoding import columns, encode, vectors
from search.surrogates.gaussian_process import Data, Hyper, Process, fit
from spaces import Params, Space

Array = NDArray[np.float64]
Index = NDArray[np.intp]
UNCHOSEN = ("known", "sobol", "random", "warm")  # origins of points that no model chose
FEWEST = 4  # results from which anything is learned
GROWTH = 1.4  # the hyperparameters are learned anew when there are so many times more results
MARGIN = 1.0  # of the front's range, by which the reference point lies below it: its ends count
MOST = 400  # finished trials, and values at rungs; beyond that the oldest are left out


class Belief:
    """Both objectives as processes, in standard units.

    Running trials count with what they have shown at rungs, and as if their final value were the
    expected one (the kriging believer of Ginsbourger et al. 2010), so that no two workers are sent
    after the same gain.

    Args:
      space: of the points.
      view: of the ledger.
      before: finished trials of earlier studies under the same battery; with those of the view at
        least `FEWEST`.
    """

    def __init__(
        self, space: Space, view: View, before: Sequence[tuple[Params, TrialResult]] = ()
    ) -> None:
        self.space = space
        self.columns = columns(space)
        trials = [trial for _, trial in sorted(view.trials.items())]
        earlier = [Trial(-1 - n, p, 0, "warm", "finished", result=r)
                   for n, (p, r) in enumerate(before)]  # fmt: skip
        self.done = _kept([*earlier, *(t for t in trials if t.state == "finished" and t.result)])
        shown = [(t, key, rung) for t in trials for key, rung in t.rungs.items()]
        shown = shown[-MOST:]
        points = np.array([t.result.point for t in self.done if t.result])
        early = _early(self.done)
        first = np.array([t.ended <= early for t in self.done])
        self.shift, self.unit = points[first].mean(axis=0), points[first].std(axis=0) + 1e-9
        keys: list[Key] = sorted({key for _, key, _ in shown})
        x = vectors(space, [*(t.params for t in self.done), *(t.params for t, _, _ in shown)])
        fidelity = np.array(
            [0] * len(self.done) + [1 + keys.index(key) for _, key, _ in shown], dtype=np.intp
        )
        values = (np.array([*points, *(r.point for *_, r in shown)]) - self.shift) / self.unit
        known = np.concatenate([first, [0 < t.ended <= early for t, *_ in shown]]).astype(bool)
        self.processes = []
        for y in values.T:
            hyper = _learned(
                x[known].tobytes(), fidelity[known].tobytes(), y[known].tobytes(),
                tuple(self.columns), 1 + len(keys),
            )  # fmt: skip
            self.processes.append(Process(Data(x, fidelity, y), hyper, self.columns))
        numbers = [*(t.number for t in self.done), *(t.number for t, *_ in shown)]
        self.skill = self._skill(np.array(numbers, dtype=np.intp))
        self.feasible = np.array([view.feasible(t) for t in self.done])
        self.ends = x[: len(self.done)]
        self.mean = self._predict(self.ends)[0]
        self.found = self.mean[self.feasible] if self.feasible.any() else self.mean
        running = [t.params for t in trials if t.state == "running"]
        if running:
            self._believe(vectors(space, running))

    def predict(self, places: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [n, 2] of the final objectives at places of the cube."""
        return self._predict(encode(self.space, places))

    def _predict(self, x: Array) -> tuple[Array, Array]:
        both = [process.predict(x) for process in self.processes]
        return np.stack([b[0] for b in both], 1), np.stack([b[1] for b in both], 1)

    def _skill(self, numbers: Index) -> float:
        """How well the processes tell the end of trials that they have not seen, at most 1.

        The share of the variance of the final values that they explain where one trial is left out
        with all its rungs, mean of both objectives; 0 is no better than the mean. Only trials that
        no model chose count: those that it chose lie where it knows most.
        """
        free = np.flatnonzero([t.origin in UNCHOSEN for t in self.done])
        if len(free) < FEWEST:
            return 0.0
        told = []
        for process in self.processes:
            missed = process.left_out(numbers)[free]
            values = process.data.y[free]
            around = len(free) / (len(free) - 1) * (values - values.mean())
            told.append(1 - float((missed**2).sum() / ((around**2).sum() + 1e-9)))
        return sum(told) / len(told)

    def _believe(self, x: Array) -> None:
        mean = self._predict(x)[0]
        end = np.zeros(len(x), dtype=np.intp)
        for i, p in enumerate(self.processes):
            more = Data(
                np.concatenate([p.data.x, x]),
                np.concatenate([p.data.fidelity, end]),
                np.concatenate([p.data.y, mean[:, i]]),
            )
            self.processes[i] = Process(more, p.hyper, self.columns)
        self.found = np.concatenate([self.found, mean])

    @property
    def corner(self) -> Array:
        """A reference point below the believed front."""
        best = self.found[front(self.found)]
        span = np.maximum(np.ptp(best, axis=0), 0.5)
        return np.asarray(best.min(axis=0) - MARGIN * span)

    @property
    def best(self) -> list[Params]:
        """The finished trials on the believed front, feasible ones where there are any."""
        able = self.feasible if self.feasible.any() else ~self.feasible
        done = [t for t, keep in zip(self.done, able, strict=True) if keep]
        on = front(self.mean[able])
        return [t.params for t, keep in zip(done, on, strict=True) if keep]

    def chance(self, places: Array) -> Array:
        """How likely a trial at each of [n] places keeps the constraints, by its neighbours."""
        if self.feasible.all():
            return np.ones(len(places))
        first = self.processes[0]
        alike = first.hyper.alike(encode(self.space, places), self.ends, self.columns)
        return np.asarray((alike @ self.feasible + 0.5) / (alike.sum(axis=1) + 0.5))


def _kept(done: list[Trial]) -> list[Trial]:
    """All, or the latest `MOST` and the measured front where there are more."""
    if len(done) <= MOST:
        return done
    on = front([t.result.point for t in done if t.result])
    return [t for i, t in enumerate(done) if on[i] or i >= len(done) - MOST]


def _early(done: list[Trial]) -> float:
    """When so many trials had ended as the hyperparameters are learned from: 4, 6, 9, 13, ..."""
    many = FEWEST
    while int(many * GROWTH) + 1 <= len(done):
        many = int(many * GROWTH) + 1
    return sorted(t.ended for t in done)[many - 1]


@lru_cache(maxsize=64)
def _learned(x: bytes, fidelity: bytes, y: bytes, columns: tuple[int, ...], many: int) -> Hyper:
    """`fit`, remembered: from the same observations one learns the same."""
    rows = np.frombuffer(x).reshape(-1, len(columns))
    data = Data(rows, np.frombuffer(fidelity, dtype=np.intp), np.frombuffer(y))
    return fit(data, columns, many)
