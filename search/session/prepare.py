"""Everything between the wish and the first trial: a new run folder, or one to go on with.

Whatever is wrong is found here, before anything is written: each mistake is a ValueError or an
OSError whose message is the one line that the user sees.
"""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from adv.files import write_atomic
from search.finals.reseeding_study import default_trainings
from search.record.ledger import Ledger
from search.record.run_folder import LEDGER
from search.record.study_header import WarmStart
from search.record.view import View
from search.reporting.terminal import longer
from search.samplers.warm_start import warm_start
from search.session.job import Job, at_once, print_scale, study_of, training_of
from search.session.options import Options, run_folder
from search.session.plan import (
    Machine,
    Plan,
    budget_text,
    make_header,
    make_plan,
    print_plan,
    proposing,
    stopping_text,
)
from search.session.resume import resumed
from search.tracking.wandb_login import resolve_mode


def dry_run(console: Console, options: Options, machine: Machine) -> None:
    """Print the plan of a new search; start nothing, write nothing."""
    if options.resume:
        raise ValueError("--dry-run plans a new search: leave --resume out")
    folder = run_folder(options)
    plan = make_plan(options, machine, folder.name)
    print_scale(console, plan.scale, plan.reason)
    notes = {
        "at once": at_once(options, plan.scale, machine),
        "budget": budget_text(options.budget),
        "finalists": _finals(options, plan),
        "proposes": _proposes(options, plan),
        "stops early": stopping_text(plan),
        "output": str(folder),
        "tracking": resolve_mode(options.wandb)[1],
    }
    print_plan(console, plan, notes)


def _finals(options: Options, plan: Plan) -> str:
    if options.finalists == "off":
        return "none"
    count = options.final_trainings or default_trainings(plan.trials)
    return (
        f"up to {count} trainings with fresh seeds, AutoAttack's line-up "
        f"({plan.scale.strong_steps} steps) on {plan.scale.test_images} test images: "
        + longer(count, plan.trials)
    )


def _proposes(options: Options, plan: Plan) -> str:
    kept = [f"keeps {bound}" for bound in options.constrain]
    first = [f"the front of {run} first" for run in options.warm_from]
    return ", ".join((plan.sampler, *kept, *first))


def prepare(console: Console, options: Options, machine: Machine) -> Job:
    """Get a search ready.

    Raises:
      ValueError, OSError: it cannot be; nothing was left behind.
    """
    mode, why_mode = resolve_mode(options.wandb)
    begin = resumed if options.resume else _new
    job = begin(console, options, machine, mode)
    off = finals_off(options, job.study.view)
    job.study.ledger.append(
        "session", budget=options.budget, trials=job.study.trials, finalists="off" if off else "on"
    )
    console.print(
        f"Data {escape(job.header.data)}, {job.study.trials} trials of "
        f"{job.scale.epochs} epochs, {at_once(options, job.scale, machine)}."
    )
    job = replace(job, finals=not off)
    if job.expected and not options.only_finals and not job.study.view.finals:
        added = longer(job.expected, job.study.trials)
        console.print(f"Finals: up to {job.expected} trainings with fresh seeds ({added}).")
    console.print(f"Run folder {escape(str(job.folder))}. {escape(why_mode)}")
    return job


def _new(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    folder = run_folder(options)
    plan = make_plan(options, machine, folder.name)
    print_scale(console, plan.scale, plan.reason)
    at_once(options, plan.scale, machine)
    run = training_of(plan)
    plan = replace(plan, scale=run.scale)
    head = make_header(plan, len(run.data.classes), run.data.fingerprint, secrets.token_hex(4))
    if options.warm_from:
        known = warm_start(options.warm_from, plan.space, head, max(1, plan.trials // 2))
        head = replace(head, warm=known)
        _print_warm(console, known)
    try:
        proposing(plan.space, head).propose(View(header=head))
    except ValueError as error:
        raise ValueError(f"{error}; {_sizes(plan, len(run.data.classes))}") from None
    folder.mkdir(parents=True)
    try:
        write_atomic(folder / "study.json", json.dumps(head.to_json(), indent=2) + "\n")
        ledger = Ledger(folder / LEDGER)
        ledger.append("study", **head.to_json())
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Job(study_of(plan, ledger), run, options, folder, mode)


def _sizes(plan: Plan, classes: int) -> str:
    """How many parameters nets of the space have, for whoever set a bound that none keeps."""
    from adv import size_of

    recipes = [plan.space.build(**point) for point in plan.points]
    counts = sorted(size_of(recipe.net, classes).parameters for recipe in recipes)
    ends = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    return f"its known points have {ends} parameters"


def finals_off(options: Options, view: View) -> bool:
    """Whether there are no finals: the user says so, or said so when the run began."""
    if options.finalists != "auto" or options.final_trainings:
        return options.finalists == "off"
    return bool(view.sessions) and view.sessions[-1].get("finalists") == "off"


def _print_warm(console: Console, known: WarmStart) -> None:
    told, points = len(known.told), len(known.points)
    values = f"{told} values taken over" if told else "no values: another battery, data or scale"
    console.print(f"Warm start: {points} points of earlier fronts come first, {values}.")
