"""Compare searches at equal cost: ours and other libraries', on simulated trials.

    python benchmarks/search_quality.py --methods portfolio+predictive,random,optuna-tpe --seeds 20
    python benchmarks/search_quality.py --problems flat-hard --json rows.json   # goes on from there
    python benchmarks/search_quality.py --problems all --json rows.json --show  # only print it
    python benchmarks/search_quality.py --curves FOLDER --problems at-cifar10,at-all
    python benchmarks/search_quality.py --csv table.csv --budget 200  # that problem alone

All methods get the same problems, seeds, workers and epochs, at simulated time
(`search.replay.simulator`). A method is scored by the true values of the front that it reports: its
hypervolume as a share of the true front's, the epochs until that share reaches 95 %, and how many
reported configurations are truly non-dominated, before and after the finals. Our methods are
written SAMPLER+STOPPER; the others run through their own classes, TPE with its default and with its
best setting. A library that is not installed is left out, with a message. A search of 48 trainings
takes the other methods .1 to 2 seconds. Optuna's GP takes minutes for that, so by default it runs
only up to 24 trainings, and Ax never. The output is Markdown: means
with standard errors.
"""

from __future__ import annotations

import itertools
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from quality import figures
from quality.analytic import Analytic
from quality.contest import Problem, Setting, method_names, run_contest
from quality.curves import load_problems
from quality.kept_rows import append_row, read_rows

from search.command_line import parse_names, run_command
from search.record.ledger import read
from search.replay.csv_records import benchmark_from_csv
from search.replay.ledger_records import benchmark_from_view
from search.replay.recorded_trials import SURROGATES, BenchmarkError

SHAPES, BIASES = ("net", "flat", "wide"), ("mild", "hard")
HERE = Path(__file__).parent
USUAL = "net-mild,net-hard,flat-mild,flat-hard"
OURS = "portfolio+predictive"
CHEAP = (
    f"{OURS},random,qmc+none,ray-optuna,ray-optuna-asha,optuna-tpe,optuna-tpe-multivariate,"
    "optuna-nsga2,syne-moasha"
)
SMALL_BUDGET = 24  # trainings, up to which Optuna's GP is fast enough to run by default


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--problems",
    help=f"Separated by commas, or all. Default: those of --csv and --run, else {USUAL}.",
)
@click.option(
    "--methods",
    help=f"Separated by commas. Default: {CHEAP}; up to {SMALL_BUDGET} trainings optuna-gp too.",
)
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1))
@click.option(
    "--workers", default=8, show_default=True, type=click.IntRange(1), help="Trials at a time."
)
@click.option(
    "--budget",
    default=60,
    show_default=True,
    type=click.IntRange(8),
    help="Number of full trainings.",
)
@click.option(
    "--curves",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of recorded trainings, see quality.curves. Repeatable.",
)
@click.option(
    "--csv",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A CSV file as a problem, see search.replay.csv_records. Repeatable.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The recorded trials of runs/NAME as a problem. Repeatable.",
)
@click.option(
    "--surrogate",
    default="nearest",
    show_default=True,
    type=click.Choice(SURROGATES),
    help="How to predict configurations that were not recorded.",
)
@click.option(
    "--ours",
    default=OURS,
    show_default=True,
    help="Our method, compared with the best other one.",
)
@click.option(
    "--json",
    "record",
    type=click.Path(path_type=Path),
    help="File of finished searches; those in it are not run again.",
)
@click.option("--show", is_flag=True, help="Run nothing; print the rows of --json.")
@click.option("--plot", help="Write the curves there, as an HTML page.")
def main(**given: Any) -> None:
    """Compare searches by the fronts that they find, at simulated time."""
    try:
        problems = _problems(given)
        gp = ",optuna-gp" if given["budget"] <= SMALL_BUDGET else ""
        methods = parse_names(given["methods"] or CHEAP + gp, method_names(), "no method")
    except (BenchmarkError, ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    setting = Setting(given["workers"], given["budget"])
    rows = {_key(row): row for row in read_rows(given["record"])}
    for problem, name in itertools.product(problems, () if given["show"] else methods):
        try:
            for seed in range(given["seeds"]):
                _run(problem, name, seed, setting, rows, given["record"])
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    wanted = {p.name for p in problems}
    shown = [
        r
        for r in rows.values()
        if r["problem"] in wanted
        and r["budget"] == setting.budget
        and r["workers"] == setting.workers
        and r["method"] in methods
    ]
    for line in figures.problem_tables(shown):
        print(line)
    for line in figures.comparison(shown, given["ours"]):
        print(line)
    if given["plot"]:
        figures.chart(shown, given["plot"])


def _problems(given: dict[str, Any]) -> Sequence[Problem]:
    found: list[Problem] = [Analytic(s, b) for s in SHAPES for b in BIASES]
    found += [Analytic("net", "mild", prior=p) for p in ("good", "bad")]
    extra: list[Problem] = []
    for folder in given["folders"]:
        extra += load_problems(folder)
    extra += [benchmark_from_csv(path, given["surrogate"]) for path in given["files"]]
    for path in given["runs"]:
        extra.append(
            benchmark_from_view(path.name, read(path / "ledger.jsonl"), given["surrogate"])
        )
    found += extra
    if given["problems"] == "all":
        return found
    asked = given["problems"] or ",".join(p.name for p in extra) or USUAL
    picked = parse_names(asked, [p.name for p in found], "no problem")
    return [p for name in picked for p in found if p.name == name]


def _run(
    problem: Problem,
    name: str,
    seed: int,
    setting: Setting,
    rows: dict[str, dict[str, Any]],
    record: Path | None,
) -> None:
    """Run one search unless its row exists; save the row before the next search starts."""
    head = {
        "problem": problem.name,
        "group": problem.group,
        "method": name,
        "seed": seed,
        "workers": setting.workers,
        "budget": setting.budget,
        "budget_epochs": setting.budget * problem.epochs,
    }
    if _key(head) in rows:
        return
    row = rows[_key(head)] = {**head, **run_contest(name, problem, seed, setting)}
    print(f"{problem.name} {name} seed {seed}: {row['share']:.3f}", file=sys.stderr, flush=True)
    append_row(record, row)


def _key(row: dict[str, Any]) -> str:
    return " ".join(str(row[k]) for k in ("problem", "method", "seed", "workers", "budget"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("ax").setLevel(logging.ERROR)
    run_command(main, "search_quality.py")
