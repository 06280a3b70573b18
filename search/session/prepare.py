"""Prepare a search: all steps between the command line and the first trial.

What is wrong is found here, before anything is written: each mistake is a ValueError or an OSError
whose message is the one line that the user sees.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace

from rich.console import Console
from rich.markup import escape

from adv import Data
from adv.shape import format_shape
from search.backends.trial_timeout import TrialTimeout
from search.finals.reseeding_study import default_trainings
from search.formatting import count, describe_score
from search.interrupt import Interrupt
from search.recipes import count_parameters
from search.record.provenance import describe_changes, find_changes
from search.record.study_header import StudyHeader, WarmStart
from search.record.view import View
from search.reporting.plan_table import print_plan
from search.reporting.terminal import describe_finals_cost, print_text
from search.samplers.warm_start import warm_start
from search.session.create_run import create_run
from search.session.disk_space import warn_of_space
from search.session.header import configure_sampler, make_header
from search.session.job import (
    Job,
    count_slots,
    describe_concurrency,
    describe_data,
    make_study,
    make_training,
    print_scale,
)
from search.session.options import Options, choose_run_folder
from search.session.parts import describe_parts, try_recipe
from search.session.plan import (
    Machine,
    Plan,
    describe_stopper,
    format_budget,
    make_plan,
)
from search.session.resume import resume_run
from search.tracking.wandb_login import resolve_mode
from search.trials.train_trial import Training


def dry_run(console: Console, options: Options, machine: Machine) -> None:
    """Print the plan of a new search; start nothing, write nothing."""
    if options.resume:
        raise ValueError("--dry-run plans a new search: leave out --resume")
    folder = choose_run_folder(options)
    plan = make_plan(options, machine, folder.name)
    data = describe_data(plan.data, plan.scale.image_size)
    shortfalls = plan.scale.shortfalls(data.validation, data.test)
    plan = replace(plan, scale=plan.scale.fit(data.validation, data.test))
    print_scale(console, plan.scale, plan.reason)
    notes = {
        **({"small data": "; ".join(shortfalls)} if shortfalls else {}),
        "at once": describe_concurrency(options, plan.scale, machine),
        "budget": format_budget(options.budget),
        "silent trials": TrialTimeout(options.trial_timeout).describe(),
        "finalists": _describe_finals(options, plan),
        "sampler": _describe_sampler(options, plan),
        "stops early": describe_stopper(plan),
        "output": str(folder),
        "tracking": resolve_mode(options.wandb)[1],
    }
    if data.shape is not None:
        build = plan.space.build
        try_recipe(lambda params: build(**params), plan.points[0], data.classes, data.shape)
    if parts := describe_parts(plan.parts):
        notes = {"net": parts, **notes}
    print_plan(console, plan, data, notes)


def _describe_finals(options: Options, plan: Plan) -> str:
    if options.finalists == "off":
        return "none"
    trainings = options.final_trainings or default_trainings(
        plan.trials, plan.scale.final_trainings
    )
    return (
        f"up to {count(trainings, 'training')} with fresh seeds, attacked by AutoAttack "
        f"({plan.scale.strong_steps} steps) on {plan.scale.test_images} test images: "
        + describe_finals_cost(trainings, plan.trials)
    )


def _describe_sampler(options: Options, plan: Plan) -> str:
    bounds = [f"keeps {bound}" for bound in options.constrain]
    first = [f"the front of {run} first" for run in options.warm_from]
    return ", ".join((plan.sampler, *bounds, *first))


def prepare(
    console: Console,
    options: Options,
    machine: Machine,
    interrupt: Interrupt,
    data: Data | None = None,
) -> Job:
    """Get a search ready, and print what it will do.

    Args:
      console: to print to.
      options: of the user.
      machine: that trials run on.
      interrupt: of the session.
      data: the data set; None: the one that the options or the run name.

    Raises:
      ValueError, OSError, StorageError, Interrupted: it cannot be started; nothing was left
        behind.
    """
    mode, reason = resolve_mode(options.wandb)
    begin = resume_run if options.resume else _prepare_new
    job = begin(console, options, machine, mode, data)
    interrupt.defer()
    off = skips_finals(options, job.study.view)
    changed = find_changes(job.header, asdict(job.scale))
    job.study.ledger.append(
        "session",
        budget=options.budget,
        **({} if options.until_gain is None else {"until_gain": options.until_gain}),
        trials=job.study.trials,
        finalists="off" if off else "on",
        trial_timeout=choose_timeout(options, job.study.view),
        **({"ranks": job.options.ranks_per_trial} if job.options.ranks_per_trial else {}),
        **({"storage": options.storage} if options.storage not in (None, "off") else {}),
        **({"changed": changed} if changed else {}),
    )
    if changed:
        print_text(
            console,
            f"This run began with {describe_changes(job.header, changed)}: values may differ in "
            "their last digits, so trials of this session are marked.",
        )
    console.print(
        f"Data {escape(job.header.data)}, images of {format_shape(job.header.image_shape)}, "
        f"{count(job.study.trials, 'trial')} of "
        f"{count(job.scale.epochs, 'epoch')} each, "
        f"{describe_concurrency(options, job.scale, machine)}."
    )
    for note in (*job.run.data.notes, *job.header.shortfalls):
        print_text(console, f"Data: {note}.")
    if parts := describe_parts(job.run.parts):
        print_text(console, f"In each recipe: {parts}.")
    console.print(f"Score {describe_score(job.scale.score, job.scale.threat_model)}.", markup=False)
    job = replace(job, finals=not off)
    if job.expected_trainings and not options.only_finals and not job.study.view.finals:
        added = describe_finals_cost(job.expected_trainings, job.study.trials)
        console.print(
            f"Finals: up to {count(job.expected_trainings, 'training')} with fresh seeds ({added})."
        )
    if not options.rescore:
        console.print(f"Silent trials: {job.timeout.describe()}.", markup=False)
    console.print(f"Run folder {escape(str(job.folder))}. {escape(reason)}")
    if warning := warn_of_space(job, count_slots(options, job.scale, machine)):
        print_text(console, warning)
    return job


def _prepare_new(
    console: Console, options: Options, machine: Machine, mode: str, data: Data | None
) -> Job:
    folder = choose_run_folder(options)
    plan = make_plan(options, machine, folder.name)
    if data is not None:
        plan = replace(plan, data=data.name)
    print_scale(console, plan.scale, plan.reason)
    describe_concurrency(options, plan.scale, machine)
    run = make_training(plan, data)
    shortfalls = plan.scale.shortfalls(len(run.data.validation), len(run.data.test))
    plan = replace(plan, scale=run.scale)
    header = replace(_make_header(console, options, plan, run), shortfalls=shortfalls)
    ledger = create_run(folder, header, over=options.resume_or_start)
    return Job(make_study(plan, ledger), run, options, folder, mode)


def _make_header(console: Console, options: Options, plan: Plan, run: Training) -> StudyHeader:
    """Return the header of a new search; raise ValueError if its sampler cannot propose."""
    data = run.data
    checksums = try_recipe(run.recipe, plan.points[0], len(data.classes), data.shape)
    header = make_header(plan, data, secrets.token_hex(4), checksums)
    if options.warm_from:
        known = warm_start(options.warm_from, plan.space, header, max(1, plan.trials // 2))
        header = replace(header, warm=known)
        _print_warm_start(console, known)
    try:
        configure_sampler(plan.space, header).propose(View(header=header))
    except ValueError as error:
        raise ValueError(f"{error}; {_describe_sizes(plan, header)}") from None
    return header


def _describe_sizes(plan: Plan, header: StudyHeader) -> str:
    """Return in words the range of parameter counts of the nets at the known points."""
    found = count_parameters(
        lambda p: plan.space.build(**p), plan.points, header.classes, header.image_shape
    )
    counts = sorted(found)
    if not counts:
        return "the net of no known point can be built"
    ends = " to ".join(f"{number:,}" for number in dict.fromkeys((counts[0], counts[-1])))
    return f"its known points have {ends} parameters"


def choose_timeout(options: Options, view: View) -> float | None:
    """Return the seconds for which a trial may be silent: as given, else as in the last session."""
    if options.trial_timeout is not None or not view.sessions:
        return options.trial_timeout
    return view.sessions[-1].trial_timeout


def skips_finals(options: Options, view: View) -> bool:
    """Return whether there are no finals: the user says so, or said so in the last session."""
    if options.finalists != "auto" or options.final_trainings:
        return options.finalists == "off"
    return bool(view.sessions) and view.sessions[-1].finalists == "off"


def _print_warm_start(console: Console, known: WarmStart) -> None:
    told, points = len(known.told), len(known.points)
    values = (
        f"{told} results are used"
        if told
        else "results are not used: battery, data or scale differ"
    )
    console.print(f"Warm start: {points} points of earlier fronts come first; {values}.")
