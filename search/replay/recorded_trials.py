"""Recorded trials as a problem to search again: from the ledger of a run, or from any CSV file.

A table answers for every point of its space, by one of two surrogates. "nearest" gives the recorded
curve of the nearest recorded trial, noise and all; what it says of a point that was tried is what
was seen there. "forest" interpolates all epochs of both objectives by extremely randomised
trees (Geurts et al. 2006) and adds noise of the recorded size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adv.intervals import error_of_interval
from search.record.pareto import front, hypervolume
from search.record.trial import EpochReport, Rung, Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.replay.search_quality import Point, Yardstick
from search.stopping.rung_schedule import rung_epochs
from search.surrogates.encoding import encode_params, encode_positions
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Params, Space

Surrogate = Literal["nearest", "forest"]
SURROGATES: tuple[Surrogate, ...] = ("nearest", "forest")
FEWEST = 4  # trials that make a table
Array = NDArray[np.float64]


class TableError(ValueError):
    """Records from which no table can be made, said in one line."""


@dataclass(frozen=True)
class Record:
    """One trial: both objectives after each epoch, [epochs, 2], and of the net that was kept.

    `noise` holds the standard errors of `final`; the rungs' epochs count from 1.
    """

    params: Params
    curve: Array
    final: Point
    noise: Point = (0.0, 0.0)
    rungs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A problem made of records; it is a `Run` too.

    Args:
      name: of the problem.
      space: of the records' points.
      records: each as many epochs long as the others.
      surrogate: how points between them are answered.

    Raises:
      TableError: fewer than `FEWEST` records.
    """

    name: str
    space: Space
    records: Sequence[Record]
    surrogate: Surrogate = "nearest"
    group: str = "table"

    def __post_init__(self) -> None:
        if len(self.records) < FEWEST:
            raise TableError(f"{self.name} has {len(self.records)} finished trials, "
                             f"a replay needs {FEWEST}")  # fmt: skip

    @property
    def epochs(self) -> int:
        """Of every trial."""
        return len(self.records[0].curve)

    @cached_property
    def places(self) -> Array:
        """The records as vectors."""
        return encode_params(self.space, [record.params for record in self.records])

    def nearest(self, params: Params) -> int:
        """The index of the record whose point is nearest, knobs scaled to their ranges."""
        gap = self.places - encode_params(self.space, [params])
        return int(np.argmin((gap * gap).sum(axis=1)))

    @cached_property
    def forest(self) -> Any:
        """Trees that predict all epochs and the end, [(epochs + 1) * 2] values, from a vector."""
        from sklearn.ensemble import ExtraTreesRegressor

        rows = [np.concatenate([r.curve.ravel(), r.final]) for r in self.records]
        return ExtraTreesRegressor(100, random_state=0, min_samples_leaf=1).fit(self.places, rows)

    def expect(self, params: Params) -> tuple[Array, Point, tuple[int, ...]]:
        """The curve, the final values and the rungs at a point, before noise."""
        record = self.records[self.nearest(params)]
        if self.surrogate == "nearest":
            return record.curve, record.final, record.rungs
        row = self.forest.predict(encode_params(self.space, [params]))[0].reshape(-1, 2)
        return row[:-1], (float(row[-1, 0]), float(row[-1, 1])), record.rungs

    def truth(self, params: Params) -> Point:
        """Both objectives at the end, without noise that the surrogate adds."""
        return self.expect(params)[1]

    @cached_property
    def best(self) -> list[int]:
        """The indices of the records on the recorded front."""
        on = front([record.final for record in self.records])
        return [int(i) for i in np.flatnonzero(on)]

    @cached_property
    def points(self) -> Array:
        """The final values of all records; for the forest also its own at 1,000 random points."""
        if self.surrogate == "nearest":
            return np.array([record.final for record in self.records])
        rng = np.random.default_rng(0)
        more = encode_positions(self.space, rng.random((1000, len(self.space.knobs))))
        return np.asarray(self.forest.predict(np.concatenate([self.places, more]))[:, -2:])

    def yardstick(self) -> Yardstick:
        """The true front is that of `points`; the corner lies half its range below it."""
        best = self.points[front(self.points)]
        span = np.ptp(best, axis=0)
        span = np.where(span > 0, span, np.ptp(self.points, axis=0) + 1e-9)
        low = best.min(axis=0) - 0.5 * span
        corner = (float(low[0]), float(low[1]))
        return Yardstick(self.truth, corner, hypervolume(best, corner))

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """What was recorded there, epoch by epoch."""
        curve, final, rungs = self.expect(params)
        noise = np.array(self.records[self.nearest(params)].noise)
        rng = np.random.default_rng((seed, zlib.crc32(self.name.encode())))
        scale = noise if self.surrogate == "forest" else 0 * noise
        sds = dict(zip(OBJECTIVES, map(float, noise), strict=True))
        for epoch, point in enumerate(curve, 1):
            seen = dict(
                zip(OBJECTIVES, map(float, point + rng.normal(0, 1, 2) * scale), strict=True)
            )
            metrics = {"watched_natural": seen[OBJECTIVES[0]],
                       "watched_robust": seen[OBJECTIVES[1]] / 100}  # fmt: skip
            rung = Rung(epoch, 1.0, seen, sds) if epoch in rungs else None
            result = None
            if epoch == len(curve):
                end = np.array(final) + rng.normal(0, 1, 2) * scale
                result = TrialResult(dict(zip(OBJECTIVES, map(float, end), strict=True)))
            yield EpochReport(epoch, len(curve), 1.0, metrics, result, rung)


def from_view(name: str, view: View, surrogate: Surrogate = "nearest") -> Table:
    """The table of a run's ledger: its finished trials.

    Rungs are taken as recorded; a run that recorded none is given those of a constant attack, with
    the values of the watched images. An epoch that is missing repeats the one before.

    Raises:
      TableError: too few finished trials, or knobs of an unknown kind.
    """
    done = [t for t in view.in_state("finished") if t.epochs]
    if len(done) < FEWEST:
        raise TableError(f"{name} has {len(done)} finished trials, a replay needs {FEWEST}")
    epochs = max(v.epochs for t in done for v in t.epochs.values())
    known = tuple(t.params for t in view.trials.values() if t.origin == "known")
    space = space_of(view.header.knobs, known)
    return Table(name, space, [_record(t, epochs) for t in done], surrogate, "recorded")


def _record(trial: Trial, epochs: int) -> Record:
    if trial.result is None:
        raise TableError(f"trial {trial.number} has no result")
    curve = np.full((epochs, 2), np.nan)
    for epoch, values in trial.epochs.items():
        metrics = values.metrics
        robust = metrics.get("watched_robust")
        curve[epoch - 1] = metrics.get("watched_natural", np.nan), (
            np.nan if robust is None else 100 * robust)  # fmt: skip
    for rung in trial.rungs.values():
        curve[rung.epoch - 1] = rung.point
    bounds = [trial.result.intervals.get(name, (0.0, 0.0)) for name in OBJECTIVES]
    noise = tuple(error_of_interval(low, high) for low, high in bounds)
    rungs = tuple(sorted(rung.epoch for rung in trial.rungs.values()))
    final = trial.result.point
    return Record(trial.params, filled(curve, final), final, (noise[0], noise[1]),
                  rungs or rung_epochs([1.0] * epochs))  # fmt: skip


def filled(curve: Array, final: Point) -> Array:
    """No gaps: an epoch without values repeats the one before, the first ones the first known."""
    found = np.array(curve)
    for values, end in zip(found.T, final, strict=True):
        known = np.flatnonzero(np.isfinite(values))
        if len(known) == 0:
            values[:] = end
            continue
        last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
        values[:] = values[np.where(last < 0, known[0], last)]
    return found


_KINDS: Mapping[str, Any] = {"Float": Float, "Int": Int, "Choice": Choice}


def space_of(knobs: Mapping[str, Mapping[str, Any]], known: Sequence[Params] = ()) -> Space:
    """The space that `Space.describe` described.

    Raises:
      TableError: a knob of an unknown kind.
    """
    made: dict[str, Knob] = {}
    for name, told in knobs.items():
        settings: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in told.items()
        }
        kind = settings.pop("kind")
        if kind not in _KINDS:
            raise TableError(f"knob {name!r} is of the unknown kind {kind!r}")
        when = settings.get("when", {})
        settings["when"] = {k: tuple(v) if isinstance(v, list) else v for k, v in when.items()}
        made[name] = _KINDS[kind](**settings)
    space = Space("recorded trials", made, no_recipe)
    kept = tuple(point for i, point in enumerate(known)
                 if space.holds(point) and point not in known[:i])  # fmt: skip
    return Space("recorded trials", made, no_recipe, kept)


def no_recipe(**params: Any) -> Any:
    raise NotImplementedError("recorded trials are not trained again")
