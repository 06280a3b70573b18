"""The finished trials of a search as a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adv.intervals import error_of_interval
from search.record.limits import shorten
from search.record.trial import Trial
from search.record.view import View
from search.replay.recorded_trials import (
    MIN_TRIALS,
    BenchmarkError,
    RecordedTrial,
    SurrogateName,
    TrialBenchmark,
    check_size,
    fill_gaps,
    no_recipe,
)
from search.stopping.rung_schedule import rung_epochs
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Params, Space

Array = NDArray[np.float64]


def benchmark_from_view(
    name: str, view: View, surrogate: SurrogateName = "nearest"
) -> TrialBenchmark:
    """Return the benchmark of the finished trials of a search.

    The rungs are the recorded ones. A search without rungs gets those of a constant attack, with
    the values of the validation images. A missing epoch repeats the one before.

    Raises:
      BenchmarkError: there are too few finished trials, or hyperparameters of an unknown kind.
    """
    done = [t for t in view.scored() if t.epochs]
    if len(done) < MIN_TRIALS:
        raise BenchmarkError(f"{name} has {len(done)} finished trials, a replay needs {MIN_TRIALS}")
    epochs = max(v.epochs for t in done for v in t.epochs.values())
    check_size(name, len(done), epochs)
    known = tuple(t.params for t in view.trials.values() if t.origin == "known")
    space = rebuild_space(view.header.knobs, known)
    for trial in done:
        try:
            space.check(trial.params)
        except ValueError as error:
            raise BenchmarkError(f"{name}, trial {trial.number}: {error}") from None
    return TrialBenchmark(name, space, [_record(t, epochs) for t in done], surrogate, "recorded")


def _record(trial: Trial, epochs: int) -> RecordedTrial:
    if trial.result is None:
        raise BenchmarkError(f"trial {trial.number} has no result")
    curve = np.full((epochs, 2), np.nan)
    for epoch, values in trial.epochs.items():
        metrics = values.metrics
        robust = metrics.get("watched_robust")
        curve[epoch - 1] = (
            metrics.get("watched_natural", np.nan),
            (np.nan if robust is None else 100 * robust),
        )
    for rung in trial.rungs.values():
        if rung.epoch <= epochs:
            curve[rung.epoch - 1] = rung.point
    bounds = [trial.result.intervals.get(name, (0.0, 0.0)) for name in OBJECTIVES]
    noise = tuple(error_of_interval(low, high) for low, high in bounds)
    rungs = tuple(sorted(rung.epoch for rung in trial.rungs.values()))
    final = trial.result.point
    return RecordedTrial(
        trial.params,
        fill_gaps(curve, final),
        final,
        (noise[0], noise[1]),
        rungs or rung_epochs([1.0] * epochs),
    )


_KINDS: Mapping[str, Any] = {"Float": Float, "Int": Int, "Choice": Choice}


def rebuild_space(knobs: Mapping[str, Mapping[str, Any]], known: Sequence[Params] = ()) -> Space:
    """Rebuild the space from what `Space.describe` returned.

    Raises:
      BenchmarkError: a hyperparameter is of an unknown kind, or not as described.
    """
    rebuilt = {name: _rebuild_knob(name, described) for name, described in knobs.items()}
    try:
        space = Space("recorded trials", rebuilt, no_recipe)
        kept = tuple(
            point for i, point in enumerate(known) if space.holds(point) and point not in known[:i]
        )
        return Space("recorded trials", rebuilt, no_recipe, kept)
    except (ValueError, TypeError) as error:
        raise BenchmarkError(f"the recorded hyperparameters are no space: {error}") from None


def _rebuild_knob(name: str, described: Mapping[str, Any]) -> Knob:
    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in described.items()
    }
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BenchmarkError(
            f"hyperparameter {shorten(name)} is of the unknown kind {shorten(kind)}"
        )
    try:
        when = settings.get("when", {})
        settings["when"] = {k: tuple(v) if isinstance(v, list) else v for k, v in when.items()}
        knob: Knob = _KINDS[kind](**settings)
    except (ValueError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"hyperparameter {shorten(name)} is none: {error}") from None
    return knob
