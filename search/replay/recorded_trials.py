"""Recorded trials as a benchmark: a tabular or surrogate benchmark from a run or a CSV file.

It predicts the learning curve of every configuration of its space, in one of two ways. "nearest"
returns the recorded curve of the nearest recorded trial, noise included, so a configuration that
was recorded gets its own curve. "forest" interpolates both objectives at all epochs by extremely
randomised trees (Geurts et al. 2006) and adds noise of the recorded size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from search.record.pareto import front, hypervolume
from search.record.trial import EpochReport, Rung
from search.record.trial_result import TrialResult
from search.replay.search_quality import Point, TrueFront
from search.surrogates.encoding import encode_params, encode_positions
from spaces import OBJECTIVES, Params, Space, Value

SurrogateName = Literal["nearest", "forest"]
SURROGATES: tuple[SurrogateName, ...] = ("nearest", "forest")
MIN_TRIALS = 4  # for a benchmark
MAX_POINTS = 20_000_000  # epochs of all trials, 320 MB
Array = NDArray[np.float64]


class BenchmarkError(ValueError):
    """Recorded trials cannot be used as a benchmark; the message is one line."""


@dataclass(frozen=True)
class RecordedTrial:
    """A recorded trial.

    Args:
      params: its configuration.
      curve: [epochs, 2] both objectives after each epoch.
      final: both objectives of the net that was kept.
      noise: standard errors of `final`.
      rungs: epochs of its rungs, counted from 1.
    """

    params: Params
    curve: Array
    final: Point
    noise: Point = (0.0, 0.0)
    rungs: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrialBenchmark:
    """A search problem rebuilt of recorded trials; it is a `Run` too.

    Args:
      name: of the problem.
      space: of the recorded configurations.
      records: the trials, all with the same number of epochs.
      surrogate: how other configurations are predicted.
      group: of problems that are averaged together.

    Raises:
      BenchmarkError: fewer than `MIN_TRIALS` trials.
    """

    name: str
    space: Space
    records: Sequence[RecordedTrial]
    surrogate: SurrogateName = "nearest"
    group: str = "table"

    def __post_init__(self) -> None:
        if len(self.records) < MIN_TRIALS:
            raise BenchmarkError(
                f"{self.name} has {len(self.records)} finished trials, a replay needs {MIN_TRIALS}"
            )

    @property
    def epochs(self) -> int:
        """How many epochs every trial has."""
        return len(self.records[0].curve)

    @cached_property
    def encoded(self) -> Array:
        """The recorded configurations as vectors, [n, columns]."""
        return encode_params(self.space, [record.params for record in self.records])

    def nearest(self, params: Params) -> int:
        """Return the index of the nearest recorded trial, each range scaled to 1.

        One that was recorded itself is looked up, so a table of a whole grid takes no search.
        """
        exact = self._index.get(frozenset(params.items()))
        if exact is not None:
            return exact
        gap = self.encoded - encode_params(self.space, [params])
        return int(np.argmin((gap * gap).sum(axis=1)))

    @cached_property
    def _index(self) -> dict[frozenset[tuple[str, Value]], int]:
        """The index of each recorded configuration, of the first trial if there are several."""
        last_first = reversed(list(enumerate(self.records)))
        return {frozenset(record.params.items()): i for i, record in last_first}

    @cached_property
    def forest(self) -> Any:
        """Trees that predict all epochs and the final values, [(epochs + 1) * 2], from a vector."""
        from sklearn.ensemble import ExtraTreesRegressor

        rows = [np.concatenate([r.curve.ravel(), r.final]) for r in self.records]
        return ExtraTreesRegressor(100, random_state=0, min_samples_leaf=1).fit(self.encoded, rows)

    def predict(self, params: Params) -> tuple[Array, Point, tuple[int, ...]]:
        """Predict the curve, the final values and the rungs of a configuration, without noise."""
        record = self.records[self.nearest(params)]
        if self.surrogate == "nearest":
            return record.curve, record.final, record.rungs
        row = self.forest.predict(encode_params(self.space, [params]))[0].reshape(-1, 2)
        return row[:-1], (float(row[-1, 0]), float(row[-1, 1])), record.rungs

    def true_objectives(self, params: Params) -> Point:
        """Predict both final objectives, without the noise that the surrogate adds."""
        return self.predict(params)[1]

    @cached_property
    def best(self) -> list[int]:
        """The indices of the trials on the recorded front."""
        on = front([record.final for record in self.records])
        return [int(i) for i in np.flatnonzero(on)]

    @cached_property
    def points(self) -> Array:
        """The final values of all trials; of the forest also at 1,000 random configurations."""
        if self.surrogate == "nearest":
            return np.array([record.final for record in self.records])
        rng = np.random.default_rng(0)
        more = encode_positions(self.space, rng.random((1000, len(self.space.knobs))))
        return np.asarray(self.forest.predict(np.concatenate([self.encoded, more]))[:, -2:])

    def true_front(self) -> TrueFront:
        """Return the front of `points`; the reference point is half its range below it."""
        return self._true_front

    @cached_property
    def _true_front(self) -> TrueFront:
        best = self.points[front(self.points)]
        span = np.ptp(best, axis=0)
        span = np.where(span > 0, span, np.ptp(self.points, axis=0) + 1e-9)
        low = best.min(axis=0) - 0.5 * span
        reference = (float(low[0]), float(low[1]))
        return TrueFront(self.true_objectives, reference, hypervolume(best, reference))

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Yield the predicted epochs of a training, with noise from its seed."""
        curve, final, rungs = self.predict(params)
        noise = np.array(self.records[self.nearest(params)].noise)
        rng = np.random.default_rng((seed, zlib.crc32(self.name.encode())))
        scale = noise if self.surrogate == "forest" else 0 * noise
        sds = dict(zip(OBJECTIVES, map(float, noise), strict=True))
        for epoch, point in enumerate(curve, 1):
            seen = dict(
                zip(OBJECTIVES, map(float, point + rng.normal(0, 1, 2) * scale), strict=True)
            )
            metrics = {
                "watched_natural": seen[OBJECTIVES[0]],
                "watched_robust": seen[OBJECTIVES[1]] / 100,
            }
            rung = Rung(epoch, 1.0, seen, sds) if epoch in rungs else None
            result = None
            if epoch == len(curve):
                end = np.array(final) + rng.normal(0, 1, 2) * scale
                result = TrialResult(dict(zip(OBJECTIVES, map(float, end), strict=True)))
            yield EpochReport(epoch, len(curve), 1.0, metrics, result, rung)


def check_size(name: str, trials: int, epochs: int) -> None:
    """Raise BenchmarkError if so many curves would not fit into memory."""
    if trials * epochs > MAX_POINTS:
        raise BenchmarkError(
            f"{name}: {trials} trials of {epochs} epochs; a replay takes {MAX_POINTS:,} epochs"
        )


def fill_gaps(curve: Array, final: Point) -> Array:
    """Fill missing epochs with the value before, leading ones with the first known value.

    Args:
      curve: [epochs, 2], NaN where a value is missing.
      final: used if no epoch has a value.
    """
    filled = np.array(curve)
    for values, end in zip(filled.T, final, strict=True):
        known = np.flatnonzero(np.isfinite(values))
        if len(known) == 0:
            values[:] = end
            continue
        last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
        values[:] = values[np.where(last < 0, known[0], last)]
    return filled


def no_recipe(**params: Any) -> Any:
    """Refuse to build a recipe: nothing is trained here."""
    raise NotImplementedError("recorded trials are not trained again")
