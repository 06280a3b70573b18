"""Search a benchmark with several combinations of sampler and stopper, and compare them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from search.replay.recorded_trials import TrialBenchmark
from search.replay.search_quality import (
    TARGET,
    SearchScore,
    mean_and_error,
    score_search,
    share_at,
)
from search.replay.simulator import StudyMethod, make_simulated_study, simulate
from search.samplers.table import initial_design_size, make_sampler
from search.stopping.table import make_stopper

Row = dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """One simulated search: its score, and the recorded front members that it finished."""

    score: SearchScore
    found: frozenset[int]


def replay_search(
    benchmark: TrialBenchmark,
    sampler: str,
    stopper: str,
    *,
    seed: int,
    workers: int,
    budget: int,
) -> Replay:
    """Search the benchmark once.

    Args:
      benchmark: the recorded trials.
      sampler: its name.
      stopper: its name.
      seed: of the search.
      workers: how many trials run at the same time.
      budget: in full trainings.
    """
    space = benchmark.space
    start = initial_design_size(space, budget)
    study = make_simulated_study(
        space,
        trials=10**6,  # the budget of epochs ends the search
        seed=seed,
        sampler=make_sampler(sampler, space, seed=seed, start=start),
        stopper=make_stopper(stopper, seed=seed),
    )
    epochs = budget * benchmark.epochs
    history = simulate(StudyMethod(study), benchmark, workers=workers, budget=epochs)
    found = frozenset(benchmark.nearest(trial.params) for trial in history.finished)
    score = score_search(history, benchmark.true_front())
    return Replay(score, found & frozenset(benchmark.best))


def summarise(sampler: str, stopper: str, replays: Sequence[Replay], budget: int) -> Row:
    """Return means over the seeds of one combination; [mean, standard error] where both are known.

    Args:
      sampler: its name.
      stopper: its name.
      replays: one for each seed.
      budget: in epochs.
    """
    scores = [replay.score for replay in replays]
    return {
        "sampler": sampler,
        "stopper": stopper,
        "hypervolume": _mean([s.share for s in scores]),
        "half": _mean([share_at(s, budget / 2) for s in scores]),
        "epochs_to_mark": _mean([min(s.epochs_to_target, budget) for s in scores]),
        "reached": sum(s.epochs_to_target <= budget for s in scores),
        "searches": len(scores),
        "spent": fmean(s.spent for s in scores),
        "finished": fmean(s.finished for s in scores),
        "stopped": fmean(s.stopped for s in scores),
        "front_found": _mean([float(len(replay.found)) for replay in replays]),
    }


def comparison_table(benchmark: TrialBenchmark, rows: Sequence[Row]) -> Table:
    """Return the rows of `summarise` as a table for the terminal."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in (
        "sampler",
        "stopper",
        "hypervolume",
        "at half the budget",
        f"epochs to {TARGET:.0%}",
        "reached",
        "epochs spent",
        "trials (stopped)",
        "front found",
    ):
        table.add_column(name, justify="left" if name in ("sampler", "stopper") else "right")
    for row in rows:
        lower_bound = "> " if row["reached"] < row["searches"] else ""
        table.add_row(
            row["sampler"],
            row["stopper"],
            _with_error(row["hypervolume"], 3),
            _with_error(row["half"], 3),
            lower_bound + _with_error(row["epochs_to_mark"], 0),
            f"{row['reached']}/{row['searches']}",
            f"{row['spent']:.0f}",
            f"{row['finished'] + row['stopped']:.0f} ({row['stopped']:.0f})",
            f"{_with_error(row['front_found'], 1)} of {len(benchmark.best)}",
        )
    return table


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None for a single value."""
    mean, error = mean_and_error(values)
    return mean, None if math.isnan(error) else error


def _with_error(pair: tuple[float, float | None], digits: int) -> str:
    mean, error = pair
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
