"""Search recorded trials again, to choose a sampler and a stopper by one's own data.

    python -m search.replay runs/NAME --sampler kriging,tpe --stopper moasha,none

Every combination searches the trials of the run at simulated time, with several seeds. Nothing is
trained: a point is answered by the nearest recorded trial or by trees that interpolate them all.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table as Grid

from search.command_line import CommandWithExamples, OneOf, parse_names, run_command
from search.record.ledger import LedgerError, read
from search.record.run_folder import LEDGER, require_run
from search.replay.csv_records import from_csv
from search.replay.recorded_trials import SURROGATES, Table, TableError, from_view
from search.replay.search_quality import MARK, Verdict, judge, mean_and_error, share_at
from search.replay.simulator import Finish, Ours, draft, simulate
from search.samplers.table import SAMPLERS, initial_design_size, make_sampler
from search.stopping.table import STOPPERS, make_stopper

EXAMPLES = """
[bold]Examples[/]
  python -m search.replay runs/NAME
      [dim]the usual samplers with and without stopping, 20 seeds each[/]
  python -m search.replay runs/NAME --sampler kriging,tpe,random
      [dim]six combinations, the best hypervolume first[/]
  python -m search.replay runs/NAME --surrogate forest --budget 30 --workers 4
      [dim]between the recorded trials too, for the epochs of 30 trainings[/]
  python -m search.replay table.csv --json rows.json
      [dim]trials recorded elsewhere: knobs, epoch, two objectives[/]

[bold]Exit status[/]
  0 done, 2 wrong usage or too few recorded trials
"""


@dataclass(frozen=True)
class Played:
    """One replay: its verdict, and the recorded trials of the true front that it finished."""

    verdict: Verdict
    found: frozenset[int]


@click.command(
    cls=CommandWithExamples,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("run", type=click.Path(path_type=Path), metavar="runs/NAME|FILE.csv")
@click.option("--sampler", "samplers", default="kriging,tpe", show_default=True,
              metavar="|".join(SAMPLERS), help="One or several, separated by commas.")  # fmt: skip
@click.option("--stopper", "stoppers", default=",".join(STOPPERS), show_default=True,
              metavar="|".join(STOPPERS), help="One or several, separated by commas.")  # fmt: skip
@click.option("--surrogate", default="nearest", show_default=True, type=OneOf(*SURROGATES),
              help="nearest: the recorded trial nearest to a point. "
              "forest: extremely randomised trees through all of them, with noise.")  # fmt: skip
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1),
              help="Searches of each combination.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1),
              help="Trials at once. Default: a quarter of the trainings, 8 at most.")  # fmt: skip
@click.option("--budget", type=click.IntRange(1), metavar="TRAININGS",
              help="What may be spent. Default: half the recorded trials.")  # fmt: skip
@click.option("--json", "record", type=click.Path(path_type=Path), help="Write the rows there.")
def main(run: Path, samplers: str, stoppers: str, surrogate: Any, **given: Any) -> int:
    """Which sampler and which stopper would have found the front of this run for less?

    Every combination searches the recorded trials again at simulated time, and is judged by what
    its reported front is worth: [bold]hypervolume[/] as a share of the recorded front's, epochs
    spent until it reaches 95 %, and how much of the recorded front it found.
    """
    try:
        table = load(run, surrogate)
        pairs = [(a, b) for a in parse_names(samplers, tuple(SAMPLERS), "--sampler")
                 for b in parse_names(stoppers, tuple(STOPPERS), "--stopper")]  # fmt: skip
        for name, _ in pairs:
            make_sampler(name, table.space, seed=0, start=1)  # or it says why it cannot
        if given["record"] and not given["record"].parent.is_dir():
            raise ValueError(
                f"--json {given['record']}: there is no folder {given['record'].parent}"
            )
    except (TableError, LedgerError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"cannot read {run}: {error.strerror or error}") from None
    budget = given["budget"] or max(4, len(table.records) // 2)
    workers = given["workers"] or min(8, max(1, budget // 4))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(_what(table, budget, given["seeds"], workers))
    rows = []
    with console.status("") as status:
        for pair in pairs:
            played = []
            for seed in range(given["seeds"]):
                status.update(f"{pair[0]} with stopper {pair[1]}: seed {seed + 1}")
                played.append(play(table, *pair, seed=seed, workers=workers, budget=budget))
            rows.append(_row(pair, played, budget * table.epochs))
    rows.sort(key=lambda row: -row["hypervolume"][0])
    console.print(_grid(table, rows))
    if given["record"]:
        given["record"].write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def load(run: Path, surrogate: Any) -> Table:
    """The recorded trials: a run folder's ledger, or a CSV file.

    Raises:
      TableError: there are none, or too few.
      LedgerError: the ledger is of a newer format.
      OSError: nothing can be read there.
    """
    if run.name.endswith((".csv", ".csv.gz")):
        return from_csv(run, surrogate)
    return from_view(run.name, read(require_run(run) / LEDGER), surrogate)


def play(table: Table, ask: str, stop: str, *, seed: int, workers: int, budget: int) -> Played:
    """One search of the recorded trials; `budget` in whole trainings."""
    study = draft(
        table.space,
        trials=10**6,  # the budget of epochs ends it
        seed=seed,
        sampler=make_sampler(
            ask, table.space, seed=seed, start=initial_design_size(table.space, budget)
        ),
        stopper=make_stopper(stop, seed=seed),
    )
    history = simulate(Ours(study), table, workers=workers, budget=budget * table.epochs)
    return Played(judge(history, table.yardstick()), _found(table, history.finished))


def _found(table: Table, finished: Sequence[Finish]) -> frozenset[int]:
    return frozenset(table.nearest(f.params) for f in finished) & frozenset(table.best)


def _row(pair: tuple[str, str], played: Sequence[Played], budget: int) -> dict[str, Any]:
    verdicts = [p.verdict for p in played]
    reached = [v.epochs for v in verdicts if v.epochs <= budget]
    return {
        "sampler": pair[0],
        "stopper": pair[1],
        "hypervolume": _mean([v.share for v in verdicts]),
        "half": _mean([share_at(v, budget / 2) for v in verdicts]),
        "epochs_to_mark": _mean([min(v.epochs, budget) for v in verdicts]),
        "reached": len(reached),
        "searches": len(played),
        "spent": fmean(v.spent for v in verdicts),
        "finished": fmean(v.finished for v in verdicts),
        "stopped": fmean(v.stopped for v in verdicts),
        "front_found": _mean([float(len(p.found)) for p in played]),
    }


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error; one search has none."""
    mean, error = mean_and_error(values)
    return mean, None if math.isnan(error) else error


def _what(table: Table, budget: int, seeds: int, workers: int) -> str:
    how = {
        "nearest": "each point is answered by the nearest recorded trial",
        "forest": "points are answered by randomised trees through all recorded trials, with noise",
    }[table.surrogate]
    return (
        f"[bold]{table.name}[/]: {len(table.records)} finished trials of {table.epochs} epochs, "
        f"{len(table.best)} on the front; {how}.\nEach search: {budget} trainings' worth of epochs "
        f"({budget * table.epochs}), {workers} workers at simulated time, {seeds} seeds, "
        "± standard error.\n"
    )


def _grid(table: Table, rows: Sequence[dict[str, Any]]) -> Grid:
    grid = Grid(box=None, padding=(0, 2), header_style="dim")
    for name in ("sampler", "stopper", "hypervolume", "at half the budget",
                 f"epochs to {MARK:.0%}", "reached", "epochs spent", "trials, stopped",
                 "front found"):  # fmt: skip
        grid.add_column(name, justify="left" if name in ("sampler", "stopper") else "right")
    for row in rows:
        late = "> " if row["reached"] < row["searches"] else ""
        grid.add_row(
            row["sampler"],
            row["stopper"],
            _told(row["hypervolume"], 3),
            _told(row["half"], 3),
            late + _told(row["epochs_to_mark"], 0),
            f"{row['reached']}/{row['searches']}",
            f"{row['spent']:.0f}",
            f"{row['finished'] + row['stopped']:.0f}, {row['stopped']:.0f}",
            f"{_told(row['front_found'], 1)} of {len(table.best)}",
        )
    return grid


def _told(pair: tuple[float, float | None], digits: int) -> str:
    mean, error = pair
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


if __name__ == "__main__":
    run_command(main, "search.replay")
