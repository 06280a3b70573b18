"""Search for robust image classifiers: `python launch.py --space rse_sigmas`.

This file holds the command line only and imports nothing heavy, so that help and mistakes are
answered at once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rich_click as click

import spaces
from adv.data.names import DATA_HELP
from adv.data.names import check_name as check_data_name
from adv.net_flags import (
    INIT_HELP,
    INIT_KEY_HELP,
    MEAN_HELP,
    NET_ARG_HELP,
    NET_HELP,
    NEW_HEAD_HELP,
    REFERENCE,
    STD_HELP,
)
from adv.shape import parse_image_size
from adv.shell import name_program
from adv.suggestions import suggest_or_list
from adv.terminal.console import print_error, print_line
from adv.version import find_version
from search.command_line import CommandWithLists, OneOf, run_command
from search.interrupt import Interrupt, Interrupted
from search.record.constraints import parse_bounds
from search.record.run_folder import require_run
from search.samplers.table import SAMPLER_HELP, SAMPLERS
from search.session.options import (
    Options,
    check_compare_flags,
    check_publish_flags,
    check_repair_flags,
    check_report_flags,
    check_resume_or_start,
    check_wandb_report_flags,
    check_watch_flags,
    choose_run_folder,
    find_range,
    merge_battery,
    merge_resume_flags,
    merge_space_file,
    merge_stored_resume,
)
from search.stopping.table import AUDIT_SHARE, STOPPER_HELP, STOPPERS

EXAMPLES = """
[bold]Examples[/]
  python launch.py --space rse_sigmas
      [dim]a whole search on this machine[/]
  python launch.py --space smoke --serial
      [dim]seconds, one trial at a time, without Ray[/]
  python launch.py --space rse_sigmas --dry-run
      [dim]print the plan; nothing is started[/]
  python launch.py --space architecture --data ~/images --epochs 20 --budget 2h
      [dim]your own images, for two hours at most[/]
  python launch.py --space rse_sigmas --net my_net.py:Net --init weights.pth
      [dim]your own net, from your own weights[/]
  python launch.py --resume runs/NAME --trials 32
      [dim]continue where it stopped, with more trials[/]
  python launch.py --space rse_sigmas --name night --resume-or-start
      [dim]start it, or go on with it: for cron, Slurm and Kubernetes[/]
  python launch.py --finalists runs/NAME --final-trainings 20
      [dim]error bars for its front from more fresh seeds[/]
  python launch.py --compare runs/A runs/B
      [dim]which of two searches came further, and how sure that is[/]
  python launch.py --space rse_sigmas --address 10.0.0.1:6379 \\
      --gpus-per-trial 0.25
      [dim]on a Ray cluster, four trials per GPU[/]

[bold]Exit status[/]
  0 done, 1 failed, 2 wrong usage, 3 no trial gave a usable result,
  129 terminal closed, 130 interrupted, 141 output closed by its reader,
  143 terminated, or warned by the batch system (SIGUSR1, SIGUSR2, SIGXCPU)
"""


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A time in seconds, written as 90s, 45m, 2h or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the seconds; fail if the text is no time."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", value.strip().lower())
        parts = [int(part or 0) for part in match.groups()] if match else [0]
        seconds = sum(n * unit for n, unit in zip(parts, (86400, 3600, 60, 1), strict=False))
        if seconds <= 0:
            self.fail(f"{value!r} is not a time above zero: write 45m, 2h or 1h30m", param, ctx)
        return float(seconds)


class DurationOrOff(Duration):
    """A time, or `off`, which gives 0 seconds."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the seconds, 0 for `off`; fail if the text is neither."""
        return 0.0 if value == "off" else super().convert(value, param, ctx)


class Percent(click.ParamType):  # type: ignore[type-arg]
    """A share above zero, written as 0.5%, as a number in (0, 1]."""

    name = "percent"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the share; fail if the text is none."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*", value)
        share = float(match[1]) / 100 if match else 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is not a percentage above 0: write 0.5%", param, ctx)
        return share


count = functools.partial(click.option, type=click.IntRange(min=1), metavar="N")
WHAT, SIZE, HOW = "What to search", "How much", "How it searches"
WHERE, RECORD = "Where it runs", "What is saved"
OUTPUT = "What is printed"


@click.command(
    cls=CommandWithLists,
    epilog=EXAMPLES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--space", metavar="NAME", panel=WHAT, help="The search space; see --list.")
@click.option(
    "--list",
    "list_",
    is_flag=True,
    panel=WHAT,
    help="List the spaces with their questions and hyperparameters.",
)
@click.option(
    "--space-file",
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    panel=WHAT,
    help="A search space of your own, `space = Space(...)` in any Python file, which is run; see "
    "docs/own-space.md.",
)
@click.option(
    "--new-space",
    metavar="NAME",
    panel=WHAT,
    help="Write NAME.py, a commented space to begin with, into this folder; nothing is searched.",
)
@click.option(
    "--set",
    "set_",
    multiple=True,
    metavar="KNOB=VALUE|LOW:HIGH",
    panel=WHAT,
    help="Fix a hyperparameter for this search, or narrow its range; KNOB=A,B keeps these options "
    "of a choice. May be repeated.",
)
@click.option(
    "--near",
    metavar="runs/NAME:TRIAL",
    panel=WHAT,
    help="Search around a trial of an earlier run, which is tried first: numbers within "
    "15 % of their range, choices as there.",
)
@click.option("--dry-run", is_flag=True, panel=WHAT, help="Print the plan; start nothing.")
@click.option(
    "--data",
    metavar="NAME",
    panel=WHAT,
    help=f"{DATA_HELP}. Default: {spaces.default_text('data')}.",
)
@click.option(
    "--image-size",
    metavar="SIZE",
    panel=WHAT,
    help="Crop and resize every image once: 64 (a square), 48x64 (height x width) or 1x28x28 "
    "(channels first: 1 grey, 3 RGB). Default: as the data has them.",
)
@click.option(
    "--net",
    metavar=REFERENCE,
    panel=WHAT,
    help=f"{NET_HELP} For a space that does not search the net itself.",
)
@click.option("--net-arg", multiple=True, metavar="NAME=VALUE", panel=WHAT, help=NET_ARG_HELP)
@click.option("--mean", metavar="M,M,M", panel=WHAT, help=MEAN_HELP)
@click.option("--std", metavar="S,S,S", panel=WHAT, help=STD_HELP)
@click.option("--init", metavar="FILE", panel=WHAT, help=INIT_HELP)
@click.option("--init-key", metavar="KEY", panel=WHAT, help=INIT_KEY_HELP)
@click.option("--new-head", is_flag=True, panel=WHAT, help=NEW_HEAD_HELP)
@click.option(
    "--scale",
    default="auto",
    metavar="NAME",
    panel=SIZE,
    help=f"How large the trials are: {', '.join(spaces.SCALES)}, or auto (default): full if the "
    "cluster has a GPU, else laptop.",
)
@count("--trials", panel=SIZE, help=f"Number of trials. Default: {spaces.default_text('trials')}.")
@count(
    "--epochs",
    panel=SIZE,
    help=f"Epochs of each trial. Default: {spaces.default_text('epochs')}.",
)
@click.option(
    "--finalists",
    default="auto",
    metavar="N|runs/NAME",
    panel=SIZE,
    help="Train the likely members of the front again with fresh seeds and attack them strongly "
    "on test images, for unbiased error bars. N: number of trainings; auto (default): one for "
    "every three trials, and at least 8 or what the space asks for, which adds two thirds of the "
    "search's time or more; off: none. A run folder: the finals of that run.",
)
@count(
    "--final-trainings",
    panel=SIZE,
    help="Number of final trainings, if --finalists names a run.",
)
@count(
    "--battery-steps",
    panel=SIZE,
    help=f"Steps of each PGD that scores a trial. Default: {spaces.default_text('battery_steps')}.",
)
@click.option(
    "--score",
    type=OneOf(*spaces.SCORES),
    metavar="NAME",
    panel=SIZE,
    help="Which attacks score a trial, at the radii that --battery names. "
    f"{'. '.join(f'{name}: {text}' for name, text in spaces.SCORES.items())}. "
    f"Default: {spaces.DEFAULT_SCORE}.",
)
@click.option(
    "--battery",
    metavar="NAME",
    panel=SIZE,
    help="The threat model: which attacks score a trial. "
    f"{'. '.join(f'{name}: {text}' for name, text in spaces.THREAT_MODELS.items())}. "
    "--score and --battery-steps choose the attacks of the first two and fit no other. Default: "
    "report.",
)
@count(
    "--images",
    panel=SIZE,
    help=f"Validation images on which a trial is scored. Default: {spaces.default_text('images')}.",
)
@click.option(
    "--budget",
    type=Duration(),
    panel=SIZE,
    metavar="TIME",
    help="Stop after this much time (45m, 2h, 1h30m); everything is saved.",
)
@click.option(
    "--until-gain",
    type=Percent(),
    panel=SIZE,
    metavar="PERCENT",
    help="End the search once its next 8 trials are expected to add less than this to the "
    "hypervolume (0.5%); its finals follow. Not before 12 trials have finished.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**31),
    metavar="N",
    panel=SIZE,
    help="Seed of the whole search. Default: 0.",
)
@click.option(
    "--sampler",
    type=OneOf(*SAMPLERS),
    metavar="NAME",
    panel=HOW,
    help="Proposes configurations after the known ones and an initial Sobol design (a third of the "
    f"trials, 4 to 16). {SAMPLER_HELP}",
)
@click.option(
    "--stopper",
    type=OneOf(*STOPPERS),
    metavar="NAME",
    panel=HOW,
    help=f"Stops trials early. {STOPPER_HELP}",
)
@click.option(
    "--audit",
    type=click.FloatRange(min=0, max=1),
    metavar="SHARE",
    panel=HOW,
    help="Fraction of the would-be-stopped trials that run to completion as a check. "
    f"Default: {AUDIT_SHARE:g}.",
)
@click.option(
    "--objectives",
    metavar="NAME,NAME",
    panel=HOW,
    help="The two figures that the search trades against each other. "
    f"Default: {','.join(spaces.OBJECTIVES)}. "
    f"{'; '.join(f'{one.name}: {one.text}' for one in spaces.FIGURES.values())}.",
)
@click.option(
    "--constrain",
    multiple=True,
    metavar="NAME<NUMBER|NAME>NUMBER",
    panel=HOW,
    help="A bound on the trials of the front, such as params<5e6 or worst_case>0.3; may be "
    "repeated. Names: params, latency (ms per image), masking_gap (in [0, 1]; by default flagged "
    "trials are left out), and those of --objectives.",
)
@click.option(
    "--warm-from",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=HOW,
    help="Try the front of an earlier run first; may be repeated. Its results are used too if "
    "battery, data and scale are the same.",
)
@click.option(
    "--address", panel=WHERE, help="An existing Ray cluster, host:port. RAY_ADDRESS is honoured."
)
@click.option(
    "--serial",
    is_flag=True,
    panel=WHERE,
    help="One trial at a time, in a worker process on this machine, without Ray.",
)
@click.option(
    "--trial-timeout",
    type=DurationOrOff(),
    metavar="TIME",
    panel=WHERE,
    help="Fail a trial that reports nothing for this long, from its start or its last report on; "
    "off: never. Default: 10 times an epoch of the run, at least 5m; 1h for a trial's first epoch "
    "and for scoring it.",
)
@count("--concurrent", panel=WHERE, help="Trials at a time. Default: as many as fit.")
@click.option(
    "--cpus-per-trial",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    panel=WHERE,
    help=f"Cores of a trial. Default: {spaces.default_text('cpus')}.",
)
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(min=0),
    metavar="N",
    panel=WHERE,
    help="GPUs of a trial: a fraction shares one, 2 or more train one net together "
    f"(docs/cluster.md). Default: {spaces.default_text('gpus')}.",
)
@count(
    "--ranks-per-trial",
    panel=WHERE,
    help="Processes that train a trial's net together, on CPUs, a core for each at least. "
    "Default: one for each of its GPUs.",
)
@click.option(
    "--min-gpus",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    panel=WHERE,
    help="Ask the autoscaler of the cluster for at least so many GPUs while the search runs.",
)
@click.option(
    "--max-gpus",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    panel=WHERE,
    help="Ask the autoscaler of the cluster for as many GPUs as the trials to come can use, and "
    "for no more than so many. Default: --min-gpus, else none are asked for.",
)
@click.option(
    "--name", panel=RECORD, help="Name of the run. Default: the space, the date and the time."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    panel=RECORD,
    help="Folder of all runs; on several nodes one that they share. Default: runs.",
)
@click.option(
    "--storage",
    metavar="URL|FOLDER",
    panel=RECORD,
    help="Keep a copy of the run there, from which any machine resumes it: s3://BUCKET/PATH, "
    "gs://BUCKET/PATH or a shared folder. Workers of a cluster then need to share no folder. "
    "Keys come from the environment of each node. off: no more. See docs/cluster.md.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="runs/NAME|URL",
    panel=RECORD,
    help="Continue an interrupted run, of this machine or of a --storage (s3://BUCKET/PATH/NAME); "
    "--trials and --budget may be larger.",
)
@click.option(
    "--resume-or-start",
    is_flag=True,
    panel=RECORD,
    help="With --name: start the run if there is none of that name, resume it if it is unfinished, "
    "and say so and exit with 0 if it is finished. For schedulers that run one command again and "
    "again.",
)
@click.option(
    "--rescore",
    type=click.Path(path_type=Path),
    metavar="runs/NAME|URL",
    panel=RECORD,
    help="Score a run's stored nets again with today's battery, or with another --score, "
    "--battery-steps or --images, and rebuild its front. Nothing is trained.",
)
@click.option(
    "--trust-code",
    is_flag=True,
    panel=RECORD,
    help="Run the code that a run folder names, such as its space, its battery or the maker of its "
    "net (--net), as if you had named it. Only for folders that you trust.",
)
@click.option(
    "--front-of",
    metavar="NAME,NAME",
    panel=RECORD,
    help="With --resume runs/NAME: print the front of its trials by two other objectives, from "
    "what was recorded. No net is trained or attacked, and nothing is changed.",
)
@click.option(
    "--compare",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="runs/A runs/B ...",
    panel=RECORD,
    help="Compare the fronts of runs with that of the first: hypervolumes and best nets, with "
    "intervals, and a page with the fronts on top of each other. Nothing is trained. Only --out, "
    "the folder of the page, goes with it.",
)
@click.option(
    "--repair",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Copy what is whole of a run's damaged ledger to ledger.repaired.jsonl beside it, and say "
    "what is lost. Nothing else is changed; no other flag fits.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Write a run's page, tables and figures again, from its ledger. Nothing is trained; no "
    "other flag fits.",
)
@click.option(
    "--publish",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Log to Weights & Biases what it has not been told of a run, from the run's ledger; only "
    "the flags --wandb, --wandb-project and --wandb-entity go with it.",
)
@click.option(
    "--wandb-report",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=RECORD,
    help="Save a view and a report of a run in Weights & Biases, where its runs are already; needs "
    "a login. Only the flags --wandb-project and --wandb-entity go with it.",
)
@click.option(
    "--optuna-storage",
    metavar="URL|FILE",
    panel=RECORD,
    help="Copy the search to an Optuna storage as well, for optuna-dashboard: a database, such as "
    "sqlite:///optuna.db, or a journal file.",
)
@click.option(
    "--mlflow",
    metavar="URI|FOLDER",
    panel=RECORD,
    help="Copy the search to MLflow as well: a tracking server, a database such as "
    "sqlite:///mlflow.db, or a folder, in which mlflow.db is made.",
)
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    panel=RECORD,
    help="Copy the search to a folder for TensorBoard as well.",
)
@click.option(
    "--wandb",
    default="auto",
    type=OneOf("auto", "online", "offline", "off"),
    metavar="MODE",
    panel=RECORD,
    help="Weights & Biases: online, offline, off, or auto (default): online if an API key is "
    "configured, else offline.",
)
@click.option(
    "--wandb-project",
    panel=RECORD,
    help="Project on Weights & Biases. Default: $WANDB_PROJECT, else robustune.",
)
@click.option(
    "--wandb-entity",
    panel=RECORD,
    help="Team or user on Weights & Biases. Default: $WANDB_ENTITY, else your own.",
)
@click.option("--quiet", is_flag=True, panel=OUTPUT, help="Print errors and the verdict alone.")
@click.option(
    "--json",
    "json_",
    is_flag=True,
    panel=OUTPUT,
    help="Print what came of the search as one JSON object at the end, progress on stderr; "
    "docs/search.md has its keys.",
)
@click.option(
    "--watch",
    type=click.Path(path_type=Path),
    metavar="runs/NAME",
    panel=OUTPUT,
    help="Show a search that runs elsewhere, until it ends; Ctrl-C leaves it alone. No other flag "
    "fits.",
)
@click.version_option(find_version(), message="%(version)s", panel=OUTPUT)
def main(list_: bool, new_space: str | None, **given: Any) -> int:
    """Search for robust image classifiers: adversarial training, strong attacks, Optuna on Ray.

    Every trial trains a net adversarially, keeps its best epoch and scores it with a battery of
    attacks. The search trades natural accuracy against the [bold]aggregated attacked score[/], the
    sum of the accuracies under attack in percent. It ends with the Pareto front, the weights of its
    nets and an HTML report.
    """
    if list_:
        from search.reporting.list_spaces import print_spaces

        print_spaces()
        return 0
    try:
        if new_space is not None:
            from search.session.new_space import write_new_space

            print_line(write_new_space(new_space))
            return 0
        for flag, work in _WITHOUT_SEARCH.items():
            if given[flag] not in (None, ()):
                return work(Options(**given))
        given_options = merge_stored_resume(Options(**given))
        options = merge_resume_flags(merge_battery(merge_space_file(given_options)))
        _check(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return _run(options)


def _run(options: Options) -> int:
    """Run the session and return the exit status; from here on signals end it in order."""
    interrupt = Interrupt()
    try:
        with interrupt.handle_signals(), interrupt.raise_at_once():
            from search.session.session import run_session

            return run_session(options, interrupt)
    except Interrupted as early:
        print_error(name_program(), f"{early.reason} before anything began")
        return early.code


def _front_of(options: Options) -> int:
    """Print another front of a run's trials, and return the exit status."""
    if options.resume is None:
        raise ValueError("--front-of shows another front of a run: add --resume runs/NAME")
    assert options.front_of is not None
    from search.session.other_front import print_other_front

    return print_other_front(require_run(options.resume, "--resume"), options.front_of)


def _compare(options: Options) -> int:
    """Compare several runs, and return the exit status."""
    folders = check_compare_flags(options)
    from search.session.compare_runs import compare_runs

    return compare_runs(folders, options.out)


def _repair(options: Options) -> int:
    """Repair a damaged ledger, and return the exit status."""
    folder = check_repair_flags(options)
    from search.session.repair_run import repair_run

    return repair_run(folder)


def _report(options: Options) -> int:
    """Write the page, the tables and the figures of a run again, and return the exit status."""
    folder = check_report_flags(options)
    from search.session.rewrite_report import rewrite_report

    try:
        return rewrite_report(folder)
    except OSError as error:
        print_error(name_program(), f"cannot write {error.filename}: {error.strerror or error}")
        return 1


def _watch(options: Options) -> int:
    """Show a search that runs elsewhere, and return the exit status."""
    folder = check_watch_flags(options)
    from search.session.watch_run import watch_run

    return watch_run(folder)


def _publish(options: Options) -> int:
    """Log a run to W&B, and return the exit status."""
    folder, options = check_publish_flags(options)

    def publish(interrupt: Interrupt) -> int:
        from search.session.publish_run import publish_run

        return publish_run(folder, options, interrupt)

    return _end_at_signals(publish, "; the rest is published by the same command")


def _save_wandb_views(options: Options) -> int:
    """Save the W&B view and report of a run, and return the exit status."""
    folder, options = check_wandb_report_flags(options)

    def save(interrupt: Interrupt) -> int:
        from search.session.save_wandb_views import save_wandb_views

        return save_wandb_views(folder, options, interrupt)

    return _end_at_signals(save, " before both were saved")


def _end_at_signals(act: Callable[[Interrupt], int], left: str) -> int:
    """Do something that the first signal ends, and return the exit status.

    Args:
      act: what to do.
      left: what is left undone, for the line that says what ended it.
    """
    interrupt = Interrupt()
    try:
        with interrupt.handle_signals(), interrupt.raise_at_once():
            return act(interrupt)
    except Interrupted as early:
        print_error(name_program(), f"{early.reason}{left}")
        return early.code


_WITHOUT_SEARCH: Mapping[str, Callable[[Options], int]] = {
    "repair": _repair,
    "report": _report,
    "watch": _watch,
    "publish": _publish,
    "compare": _compare,
    "wandb_report": _save_wandb_views,
    "front_of": _front_of,
}


def _check(options: Options) -> None:
    """Raise ValueError for a mistake that can be found without loading anything heavy."""
    if options.resume is None and options.space is None:
        raise ValueError(
            "say what to search: --space NAME (--list shows all), --space-file FILE.py, or "
            "--resume FOLDER"
        )
    if options.space is not None and options.space not in spaces.names():
        spaces.load_any(options.space)
    scales = ("auto", *spaces.SCALES)
    if options.scale not in scales:
        raise ValueError(f"no scale {options.scale!r}{suggest_or_list(options.scale, scales)}")
    if options.resume_or_start:
        check_resume_or_start(options)
    if options.trust_code and options.resume is None and not options.resume_or_start:
        raise ValueError("--trust-code is for a run that is resumed: --net names its code itself")
    if options.data is not None:
        check_data_name(options.data)
    if options.image_size is not None:
        parse_image_size(options.image_size)
    if options.dry_run and (options.json_ or options.quiet):
        flag = "--json" if options.json_ else "--quiet"
        raise ValueError(f"--dry-run prints a plan and searches nothing: leave out {flag}")
    if options.serial and options.address:
        raise ValueError("--serial runs on this machine, --address on a cluster: take one of them")
    find_range(options)
    choose_run_folder(options)
    _check_names(options)


def _check_names(options: Options) -> None:
    """Raise ValueError for a name in a flag that is unknown, or that no run may have."""
    parse_bounds(options.constrain)
    if options.objectives is not None:
        spaces.parse_objectives(options.objectives)
    for run in options.warm_from:
        require_run(run, "--warm-from")
    if options.name is not None and not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", options.name
    ):
        raise ValueError(f"--name {options.name!r}: letters, digits, '.', '_' and '-', up to 100")


def run() -> None:
    """Run the command line; a user's mistake is printed as one line, with exit status 2."""
    run_command(main, name_program())


if __name__ == "__main__":
    run()
