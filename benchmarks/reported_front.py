"""Measure how right the front is that a search reports after its finals.

    python benchmarks/reported_front.py --trials 16 --trials 48 --noise .05 --seeds 10
    python benchmarks/reported_front.py --csv table.csv --trials 48 --trainings 16 --trainings 32

Searches are simulated (`search.replay.simulator`) on formulas (`quality.analytic`) and on tables
whose true values are known; then their finals, by the classes of a real search, with the default
number of trainings or with those of `--trainings`. A training's values are the true ones and noise
from its seed; `--noise` is its standard deviation as a share of the true front's range, half of its
variance from the choice of images, as the intervals of a result say. The truth is which trials of
the search no other one of them exceeds in both true values.

Each table has a row for every number of trainings: how many nets are truly on the front and how
many are reported; precision, recall and F1, means over searches with standard errors. "Known
values" is F1 of a posterior that knows the noise and the true values of all trials, but not whose
they are: no rule can know as much. The last table has the calibration of P(on the front): the mean
of what is said of finalists, by fifths, and the share that truly is on the front.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
from markdown_report import command, table
from quality.analytic import Analytic
from quality.contest import Problem
from quality.kept_rows import append_row, read_rows

from search.command_line import parse_names, run_command
from search.finals.reseeding_study import default_trainings, make_reseeding_study
from search.finals.selection import front_membership, select_front
from search.finals.standings import compute_standings
from search.finals.true_values import DRAWS
from search.record.derived_ledgers import MemoryLedger
from search.record.pareto import front
from search.record.trial import EpochReport
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from search.replay.csv_records import benchmark_from_csv
from search.replay.recorded_trials import BenchmarkError, TrialBenchmark
from search.replay.search_quality import TrueFront
from search.replay.simulator import StudyMethod, simulate
from search.samplers.table import SAMPLERS, initial_design_size, make_sampler
from search.stopping.table import make_stopper
from search.study import Study
from spaces import OBJECTIVES, Params, Space

BATTERY = "simulated"
IMAGES = 0.5  # of the variance of a result comes from the choice of images
FORMULAS = {one.name: one for one in (Analytic(shape, "mild") for shape in ("net", "flat", "wide"))}
FIFTHS = 5
WORKERS = 4  # trials at a time
COUNT, SHARE = click.IntRange(2), click.FloatRange(0, 10)


@dataclass(frozen=True)
class NoisyProblem:
    """A problem whose trainings have one epoch, and noise of a given size.

    Args:
      problem: with the true values.
      noise: standard deviation of a result, as a share of the front's range.
    """

    problem: Problem
    noise: float

    @property
    def space(self) -> Space:
        """The space that is searched."""
        return self.problem.space

    @cached_property
    def sd(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The standard deviation of both objectives, [2]."""
        return self.noise * find_range(self.problem)

    @cached_property
    def _true_front(self) -> TrueFront:
        return self.problem.true_front()

    def find_true(self, params: Params) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the true values of a configuration, [2]."""
        return np.array(self._true_front.objectives(params))

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Yield the only epoch, with the result."""
        point = self.find_true(params) + np.random.default_rng(seed).normal(size=2) * self.sd
        half = 1.96 * np.sqrt(IMAGES) * self.sd
        values = dict(zip(OBJECTIVES, map(float, point), strict=True))
        intervals = {
            name: (float(value - h), float(value + h))
            for (name, value), h in zip(values.items(), half, strict=True)
        }
        details = ResultDetails(battery=BATTERY, validation=values)
        yield EpochReport(1, 1, 1.0, {}, TrialResult(values, intervals, details))


def find_range(problem: Problem) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the range of both objectives on the true front, [2]."""
    if isinstance(problem, TrialBenchmark):
        points = problem.points[front(problem.points)]
    else:
        assert isinstance(problem, Analytic)
        points = np.array([problem.point_on_front(trade) for trade in (0.0, 1.0)])
    return np.asarray(np.ptp(points, axis=0))


def simulate_search(problem: NoisyProblem, sampler: str, trials: int, seed: int) -> MemoryLedger:
    """Return the ledger of a simulated search without early stopping."""
    space = problem.space
    start = initial_design_size(space, trials)
    ledger = MemoryLedger()
    ledger.append("study", format=1, seed=1000 * seed)
    study = Study(
        space,
        ledger,
        trials=trials,
        seed=1000 * seed,
        sampler=make_sampler(sampler, space, seed=seed, start=start),
        stopper=make_stopper("none", seed=seed),
    )
    simulate(StudyMethod(study), problem, workers=WORKERS, budget=trials)
    return ledger


def measure_finals(problem: NoisyProblem, ledger: MemoryLedger, trainings: int) -> dict[str, Any]:
    """Simulate the finals of a search; return what they report and what is true, as plain data.

    Args:
      problem: of the search.
      ledger: of the search; it stays as it is.
      trainings: of the finals.

    Returns:
      The numbers of nets that are `reported`, `true` and `both`; `known`, F1 if the true values
      were known; and `said` and `is_true` of each finalist, P(on the front) and whether it is.
    """
    ledger = deepcopy(ledger)
    finals = make_reseeding_study(problem.space, ledger, trainings, battery=BATTERY)
    assert finals is not None, "a search with results has finalists"
    simulate(StudyMethod(finals), problem, workers=WORKERS, budget=trainings)
    view = ledger.view
    numbers = [trial.number for trial in view.scored()]
    on = front([problem.find_true(view.trials[number].params) for number in numbers])
    truly = {number for number, is_on in zip(numbers, on, strict=True) if is_on}
    standings = compute_standings(view)
    known = [one for one in standings if one.runs]
    reported = {one.trial.number for one in standings if one.on_front}
    return {
        "true": len(truly),
        "reported": len(reported),
        "both": len(truly & reported),
        "known": report_known_values(problem, view),
        "said": [one.p_front for one in known],
        "is_true": [one.trial.number in truly for one in known],
    }


def report_known_values(problem: NoisyProblem, view: View) -> float:
    """Return F1 of the front that is reported if the noise and all true values are known.

    Not known is which trial has which of these values: each has any of them beforehand, and then
    with the likelihood of its measured values.
    """
    trials = view.scored()
    measured = {trial.number: [trial.result.point] for trial in trials if trial.result}
    for run in view.finals.trials.values() if view.finals else ():
        if run.result:
            measured[int(run.origin)].append(run.result.point)
    true = np.array([problem.find_true(trial.params) for trial in trials]) / problem.sd
    means = np.array([np.mean(values, axis=0) for values in measured.values()]) / problem.sd
    counts = np.array([len(values) for values in measured.values()])[:, None]
    logs = -0.5 * counts * ((means[:, None] - true[None]) ** 2).sum(axis=2)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    cumulative = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    uniform = np.random.default_rng(0).random((len(trials), DRAWS))
    drawn = [np.searchsorted(c[:-1], u) for c, u in zip(cumulative, uniform, strict=True)]
    reported = select_front(front_membership(true[np.stack(drawn, axis=1)]))
    on = front(true)
    return float(2 * (on & reported).sum() / (on.sum() + reported.sum()))


def format_fronts(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of what is reported, with a row for noise, trials and trainings."""
    groups: dict[tuple[float, int, int], list[dict[str, Any]]] = {}
    for row in rows:
        _, _, noise, trials, trainings, _ = row["key"]
        groups.setdefault((noise, trials, trainings), []).append(row)
    lines = []
    for (noise, trials, trainings), some in groups.items():
        both, true, reported = (
            np.array([row[name] for row in some]) for name in ("both", "true", "reported")
        )
        precision, recall = both / np.maximum(reported, 1), both / true
        f1 = 2 * both / (reported + true)
        known = np.array([row.get("known", np.nan) for row in some])
        sizes = [f"{values.mean():.1f}" for values in (true, reported)]
        shares = [format_mean(values) for values in (precision, recall, f1, known)]
        lines.append([f"{noise:g}", str(trials), str(trainings), str(len(some)), *sizes, *shares])
    heads = ["noise", "trials", "trainings", "n", "true", "reported", "precision", "recall", "F1"]
    return table([*heads, "known values"], lines)


def format_mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Return the mean with its standard error, of one value without."""
    error = f" ± {values.std(ddof=1) / np.sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{error}"


def format_calibration(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of what is said of finalists, P(on the front), and of what is true."""
    said = np.concatenate([row["said"] for row in rows])
    true = np.concatenate([row["is_true"] for row in rows])
    fifth = np.minimum((said * FIFTHS).astype(int), FIFTHS - 1)
    lines = [
        [f"{said[at].mean():.2f}", f"{true[at].mean():.2f}", str(at.sum())]
        for at in (fifth == i for i in range(FIFTHS))
        if at.any()
    ]
    return table(["P(on the front)", "share on the front", "finalists"], lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--problems",
    default=",".join(FORMULAS),
    show_default=True,
    help="Formulas, separated by commas.",
)
@click.option(
    "--csv",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A table as a problem more, see search.replay.csv_records. Repeatable.",
)
@click.option("--trials", multiple=True, default=(16, 48), show_default=True, type=COUNT)
@click.option("--trainings", multiple=True, type=COUNT, help="Of the finals. Default: as a search.")
@click.option("--noise", multiple=True, default=(0.05, 0.15), show_default=True, type=SHARE)
@click.option("--sampler", default="portfolio", show_default=True, type=click.Choice(SAMPLERS))
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1))
@click.option(
    "--json",
    "record",
    type=click.Path(path_type=Path),
    help="File of finished searches; those in it are not run again.",
)
def main(**given: Any) -> None:
    """Simulate searches and their finals, and compare what they report with the truth."""
    try:
        names = (
            parse_names(given["problems"], [*FORMULAS], "no formula") if given["problems"] else []
        )
        problems: list[Problem] = [FORMULAS[name] for name in names]
        problems += [benchmark_from_csv(path) for path in given["files"]]
    except (BenchmarkError, ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    if not problems:
        raise click.UsageError("no problem: name a formula with --problems or a table with --csv")
    kept = {tuple(row["key"]): row for row in read_rows(given["record"])}
    rows = []
    settings = itertools.product(given["noise"], given["trials"], problems, range(given["seeds"]))
    for noise, trials, problem, seed in settings:
        noisy = NoisyProblem(problem, noise)
        search = cache(partial(simulate_search, noisy, given["sampler"], trials, seed))
        for count in given["trainings"] or (default_trainings(trials),):
            key = (problem.name, given["sampler"], noise, trials, count, seed)
            if key not in kept:
                row = kept[key] = {"key": list(key), **measure_finals(noisy, search(), count)}
                append_row(given["record"], row)
                told = f"{row['both']} of {row['true']} on the front, {row['reported']} reported"
                print(f"{' '.join(map(str, key))}: {told}", file=sys.stderr, flush=True)
            rows.append(kept[key])
    print(f"`{command(sys.argv[1:])}`\n\n{format_fronts(rows)}\n\n{format_calibration(rows)}")


if __name__ == "__main__":
    run_command(main, "reported_front.py")
