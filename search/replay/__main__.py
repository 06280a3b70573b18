"""Search recorded trials again, to choose sampler and stopper by one's own data.

    python -m search.replay runs/NAME --sampler kriging,tpe --stopper predictive,none

Every combination searches the trials of the run at simulated time, with several seeds. Nothing is
trained: a configuration is predicted by the nearest recorded trial, or by trees that interpolate.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from adv.terminal.console import open_console, print_table
from search.command_line import CommandWithExamples, OneOf, parse_names, run_command
from search.record.ledger import LedgerError, read
from search.record.run_folder import LEDGER, require_run
from search.replay.compare import Row, comparison_table, replay_search, summarise
from search.replay.csv_records import benchmark_from_csv
from search.replay.ledger_records import benchmark_from_view
from search.replay.recorded_trials import SURROGATES, BenchmarkError, SurrogateName, TrialBenchmark
from search.samplers.table import SAMPLERS, make_sampler
from search.stopping.table import STOPPERS

MAX_BUDGET = 200  # trainings, unless --budget says more: a table may have thousands of rows
EXAMPLES = """
[bold]Examples[/]
  python -m search.replay runs/NAME
      [dim]the default samplers with and without early stopping, 20 seeds each[/]
  python -m search.replay runs/NAME --sampler kriging,tpe,random
      [dim]six combinations, the best hypervolume first[/]
  python -m search.replay runs/NAME --surrogate forest --budget 30 --workers 4
      [dim]interpolate between the recorded trials; a budget of 30 trainings[/]
  python -m search.replay table.csv --json rows.json
      [dim]trials recorded elsewhere: hyperparameters, epoch, two objectives[/]

[bold]Exit status[/]
  0 done, 2 wrong usage or too few recorded trials
"""


@click.command(
    cls=CommandWithExamples,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("run", type=click.Path(path_type=Path), metavar="runs/NAME|FILE.csv")
@click.option(
    "--sampler",
    "samplers",
    default="portfolio,kriging,tpe",
    show_default=True,
    metavar="|".join(SAMPLERS),
    help="One or several, separated by commas.",
)
@click.option(
    "--stopper",
    "stoppers",
    default=",".join(STOPPERS),
    show_default=True,
    metavar="|".join(STOPPERS),
    help="One or several, separated by commas.",
)
@click.option(
    "--surrogate",
    default="nearest",
    show_default=True,
    type=OneOf(*SURROGATES),
    help="Prediction of a configuration. nearest: by the nearest recorded trial; "
    "forest: by extremely randomised trees fitted to them, with noise.",
)
@click.option(
    "--seeds",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Searches of each combination.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Trials at a time. Default: a quarter of the budget, 8 at most.",
)
@click.option(
    "--budget",
    type=click.IntRange(1),
    metavar="TRAININGS",
    help=f"In full trainings. Default: half the number of recorded trials, {MAX_BUDGET} at most.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the rows to this file."
)
def main(
    run: Path,
    samplers: str,
    stoppers: str,
    surrogate: Any,
    json_path: Path | None,
    seeds: int,
    **given: Any,
) -> int:
    """Which sampler and which stopper would have found the front of this run for less?

    Every combination searches the recorded trials again at simulated time. It is scored by its
    reported front: [bold]hypervolume[/] as a share of the recorded front's, epochs spent until it
    reaches 95 %, and how much of the recorded front it found.
    """
    try:
        benchmark = load_benchmark(run, surrogate)
        pairs = _parse_pairs(samplers, stoppers, benchmark)
        if json_path and not json_path.parent.is_dir():
            raise ValueError(f"--json {json_path}: there is no folder {json_path.parent}")
        if json_path and json_path.is_dir():
            raise ValueError(f"--json {json_path} is a folder: name a file")
    except (BenchmarkError, LedgerError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"cannot read {run}: {error.strerror or error}") from None
    budget = given["budget"] or min(MAX_BUDGET, max(4, len(benchmark.records) // 2))
    workers = given["workers"] or min(8, max(1, budget // 4))
    console = open_console()
    console.print(_describe(benchmark, budget, seeds, workers))
    rows = _replay_all(console, benchmark, pairs, seeds, workers, budget)
    print_table(console, comparison_table(benchmark, rows))
    if json_path:
        json_path.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def load_benchmark(run: Path, surrogate: SurrogateName) -> TrialBenchmark:
    """Load recorded trials from the ledger of a run folder, or from a CSV file.

    Raises:
      BenchmarkError: there are too few, or the file is not as described.
      LedgerError: the ledger cannot be read.
      OSError: the file cannot be read.
    """
    if run.name.endswith((".csv", ".csv.gz")):
        return benchmark_from_csv(run, surrogate)
    return benchmark_from_view(run.name, read(require_run(run) / LEDGER), surrogate)


def _parse_pairs(samplers: str, stoppers: str, benchmark: TrialBenchmark) -> list[tuple[str, str]]:
    """Return all combinations; raise ValueError if a sampler cannot handle the space."""
    names = parse_names(samplers, tuple(SAMPLERS), "--sampler")
    for name in names:
        make_sampler(name, benchmark.space, seed=0, start=1)
    return [(a, b) for a in names for b in parse_names(stoppers, tuple(STOPPERS), "--stopper")]


def _replay_all(
    console: Console,
    benchmark: TrialBenchmark,
    pairs: list[tuple[str, str]],
    seeds: int,
    workers: int,
    budget: int,
) -> list[Row]:
    """Return a row for each combination, the best hypervolume first."""
    rows = []
    with console.status("") as status:
        for sampler, stopper in pairs:
            replays = []
            for seed in range(seeds):
                status.update(f"{sampler} with stopper {stopper}: seed {seed + 1}")
                replays.append(
                    replay_search(
                        benchmark, sampler, stopper, seed=seed, workers=workers, budget=budget
                    )
                )
            rows.append(summarise(sampler, stopper, replays, budget * benchmark.epochs))
    return sorted(rows, key=lambda row: -row["hypervolume"][0])


def _describe(benchmark: TrialBenchmark, budget: int, seeds: int, workers: int) -> str:
    how = {
        "nearest": "a configuration is predicted by the nearest recorded trial",
        "forest": "a configuration is predicted by randomised trees fitted to all recorded trials, "
        "with noise",
    }[benchmark.surrogate]
    return (
        f"[bold]{benchmark.name}[/]: {len(benchmark.records)} finished trials of "
        f"{benchmark.epochs} epochs, {len(benchmark.best)} on the front; {how}.\n"
        f"Each search: a budget of {budget} trainings ({budget * benchmark.epochs} epochs), "
        f"{workers} workers at simulated time, {seeds} seeds, ± standard error.\n"
    )


if __name__ == "__main__":
    run_command(main, "search.replay")
