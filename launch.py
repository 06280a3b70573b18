"""Search for robust image classifiers: `python launch.py --space rse_sigmas`.

This file holds the command line only, and imports nothing heavy: help and mistakes answer at once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import rich_click as click

import spaces
from adv.data.names import check as check_data
from adv.suggestions import suggest
from search.command_line import Command, OneOf, answer
from search.record.constraints import parse_bounds
from search.record.run_folder import require_run
from search.samplers.table import SAMPLER_HELP, SAMPLERS
from search.session.options import Options, choose_run_folder, normalise
from search.stopping.table import AUDIT_SHARE, STOPPER_HELP, STOPPERS

EXAMPLES = """
[bold]Examples[/]
  python launch.py --space rse_sigmas
      [dim]a whole search on this machine[/]
  python launch.py --space smoke --serial
      [dim]seconds, in this process, without Ray[/]
  python launch.py --space rse_sigmas --dry-run
      [dim]the plan; nothing is started[/]
  python launch.py --space architecture --data ~/images --epochs 20 --budget 2h
      [dim]your own images, for two hours at most[/]
  python launch.py --resume runs/NAME --trials 32
      [dim]go on where it stopped, and further[/]
  python launch.py --finalists runs/NAME --final-trainings 20
      [dim]error bars for its front, from more fresh seeds[/]
  python launch.py --space rse_sigmas --address 10.0.0.1:6379 --gpus-per-trial 0.25
      [dim]on a Ray cluster, four trials to a GPU[/]

[bold]Exit status[/]
  0 done, 1 failed, 2 wrong usage, 3 no trial gave a usable result,
  130 interrupted, 143 terminated
"""


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """Seconds, written as 90s, 45m, 2h or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read the text; `fail` says what is allowed."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", value.strip().lower())
        parts = [int(part or 0) for part in match.groups()] if match else [0]
        seconds = sum(n * unit for n, unit in zip(parts, (86400, 3600, 60, 1), strict=False))
        if seconds <= 0:
            self.fail(f"{value!r} is no time above zero: write 45m, 2h or 1h30m", param, ctx)
        return float(seconds)


COUNT = click.IntRange(min=1)
PLAN, SIZE, WHERE, RECORD = "What to search", "How much", "Where it runs", "What is kept"
PROPOSE = "How it searches"


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--space", metavar="NAME", panel=PLAN, help="The search space; see --list.")
@click.option("--list", "list_", is_flag=True, panel=PLAN, help="Each space: question, knobs.")
@click.option("--dry-run", is_flag=True, panel=PLAN, help="Print the whole plan; start nothing.")
@click.option(
    "--data",
    metavar="NAME",
    panel=PLAN,
    help="digits, cifar10, cifar100 or a folder with train/<class>/* and test/<class>/*. "
    "Default: what the scale says (digits on laptop, cifar10 on full).",
)
@click.option(
    "--scale",
    default="auto",
    metavar="auto|laptop|full",
    panel=SIZE,
    help="How big a trial is. auto: full where the cluster has a GPU, else laptop.",
)
@click.option("--trials", type=COUNT, panel=SIZE, help="How many in all. Default: the scale's.")
@click.option("--epochs", type=COUNT, panel=SIZE, help="Of each trial. Default: the scale's.")
@click.option(
    "--finalists",
    default="auto",
    metavar="auto|off|N|runs/NAME",
    panel=SIZE,
    help="Train what may be on the front again with fresh seeds, and attack it strongly on test "
    "images: error bars without the winner's curse. N trainings in all; auto: one for each four "
    "trials, so a search takes about half as long again. A folder: the finals of that run.",
)
@click.option(
    "--final-trainings",
    type=COUNT,
    panel=SIZE,
    help="The N of --finalists, where that names a run.",
)
@click.option(
    "--battery-steps",
    type=COUNT,
    panel=SIZE,
    help="Of each attack that scores a trial. Default: the scale's, 10 on laptop, 20 on full.",
)
@click.option(
    "--images",
    type=COUNT,
    panel=SIZE,
    help="Validation images that score a trial. Default: the scale's, 100 on laptop, 1000 on full.",
)
@click.option(
    "--budget",
    type=Duration(),
    panel=SIZE,
    metavar="TIME",
    help="End after this much time (45m, 2h, 1h30m), everything saved.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**31),
    panel=SIZE,
    help="Of the whole search. Default: 0.",
)
@click.option(
    "--sampler",
    type=OneOf(*SAMPLERS),
    panel=PROPOSE,
    help="Proposes configurations after the known ones and an initial Sobol design (a third of the "
    f"trials, 4 to 16). {SAMPLER_HELP}",
)
@click.option(
    "--stopper",
    type=OneOf(*STOPPERS),
    panel=PROPOSE,
    help=f"Ends trials early. {STOPPER_HELP}",
)
@click.option(
    "--audit",
    type=click.FloatRange(min=0, max=1),
    panel=PROPOSE,
    help="Fraction of the would-be-stopped trials that run to completion as a check. "
    f"Default: {AUDIT_SHARE:g}.",
)
@click.option(
    "--constrain",
    multiple=True,
    metavar="NAME<NUMBER",
    panel=PROPOSE,
    help="A bound that the front must keep, such as params<5e6; may be repeated. Names: params, "
    "latency (ms an image), masking_gap (in [0, 1]; by default a flagged trial is left out).",
)
@click.option(
    "--warm-from",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=PROPOSE,
    help="An earlier run whose front is tried first; may be repeated. Its values count only if "
    "battery, data and scale are the same.",
)
@click.option(
    "--address", panel=WHERE, help="An existing Ray cluster, host:port. RAY_ADDRESS is honoured."
)
@click.option("--serial", is_flag=True, panel=WHERE, help="In this process, without Ray.")
@click.option("--concurrent", type=COUNT, panel=WHERE, help="Trials at once. Default: what fits.")
@click.option(
    "--cpus-per-trial",
    type=click.FloatRange(min=0, min_open=True),
    panel=WHERE,
    help="Cores of a trial. Default: 1.",
)
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(min=0),
    panel=WHERE,
    help="GPUs of a trial, fractions allowed. Default: 0.25 on full, 0 on laptop.",
)
@click.option("--name", panel=RECORD, help="Of the run. Default: the space and the time.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    panel=RECORD,
    help="Folder of all runs; with several nodes one that all share. Default: runs.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Go on with an interrupted run; --trials and --budget may be larger.",
)
@click.option(
    "--rescore",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Attack a run's stored nets again with today's battery, or with other --battery-steps and "
    "--images, and make its front anew. Nothing is trained.",
)
@click.option(
    "--wandb",
    default="auto",
    type=OneOf("auto", "online", "offline", "off"),
    panel=RECORD,
    help="Weights & Biases. auto: online where a key is configured, else offline.",
)
@click.option(
    "--wandb-project", default="robustune", show_default=True, panel=RECORD, help="Its project."
)
@click.option("--wandb-entity", panel=RECORD, help="Team or user. Default: yours.")
def main(list_: bool, **given: Any) -> int:
    """Search for robust image classifiers: adversarial training, honest attacks, Optuna on Ray.

    Every trial trains a net against attacks, keeps its best epoch and meets a battery of attacks.
    The search trades natural accuracy against the [bold]aggregated attacked score[/], the sum of
    the attacked accuracies in percent, and ends with the Pareto front, its weights and a page.
    """
    if list_:
        from search.reporting.list_spaces import print_spaces

        print_spaces()
        return 0
    try:
        options = normalise(Options(**given))
        _check(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from search.session.session import run_session

    return run_session(options)


def _check(options: Options) -> None:
    """Find the mistakes that can be found without loading anything."""
    if options.resume is None and options.space is None:
        raise ValueError("say what to search: --space NAME (--list shows all), or --resume FOLDER")
    if options.space is not None and options.space not in spaces.names():
        spaces.load(options.space)
    if options.scale not in ("auto", *spaces.SCALES):
        near = suggest(options.scale, ("auto", *spaces.SCALES)) or ":"
        raise ValueError(f"no scale {options.scale!r}{near} There are: auto, laptop, full")
    if options.data is not None:
        check_data(options.data)
    if options.serial and options.address:
        raise ValueError("--serial runs in this process, --address on a cluster: take one of them")
    choose_run_folder(options)
    parse_bounds(options.constrain)
    for run in options.warm_from:
        require_run(run, "--warm-from")
    if options.name is not None and not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", options.name
    ):
        raise ValueError(f"--name {options.name!r}: letters, digits, '.', '_' and '-', up to 100")


def run() -> None:
    """The command line; what the user got wrong is said in one line, with status 2."""
    answer(main, "launch.py")


if __name__ == "__main__":
    run()
