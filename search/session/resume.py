"""A run that exists, to go on with: it keeps what it began with, and refuses what does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.markup import escape

import spaces
from search.record.constraints import bounds
from search.record.ledger import Ledger, read
from search.record.run_folder import LEDGER
from search.record.study_header import StudyHeader
from search.record.view import View
from search.reporting.terminal import clock
from search.session.job import Job, at_once, print_scale, study_of, training_of
from search.session.options import Options, run_folder
from search.session.plan import Machine, Plan, check_sampler, check_trials, data_name, described
from search.session.rescore import there, with_sizes
from search.trials.train_trial import Training
from spaces import Scale


def resumed(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    """Get a run ready to go on; ValueError where it cannot."""
    folder = run_folder(options)
    view = read(folder / LEDGER)
    if not view.header.format:
        raise ValueError(f"{folder / LEDGER} is empty: begin anew with another --name")
    plan = _plan_again(options, view, machine)
    print_scale(console, plan.scale, plan.reason)
    at_once(options, plan.scale, machine)
    run = training_of(plan)
    if options.rescore:
        run = with_sizes(run, options.battery_steps, options.images)
    _check_values(options, view, run)
    ledger = Ledger(folder / LEDGER)
    if options.rescore and not there(ledger.view, folder):
        ledger.close()
        raise ValueError(
            f"{folder} holds no weights of a finished trial: there is nothing to re-score"
        )
    counts = {
        state: len(ledger.view.in_state(state)) for state in ("finished", "failed", "running")
    }
    console.print(
        f"Resuming {escape(str(folder))}: {counts['finished']} trials finished, "
        f"{counts['failed']} failed, {counts['running']} to go on with, "
        f"{plan.trials - len(ledger.view.trials)} to come."
    )
    return Job(study_of(plan, ledger), run, options, folder, mode)


def _check_values(options: Options, view: View, run: Training) -> None:
    """Raise ValueError where what comes would not be comparable with what is there."""
    folder, head = options.resume, view.header
    if run.data.fingerprint != head.data_fingerprint:
        raise ValueError(f"the data {head.data} is not what it was when {folder} began")
    done = view.in_state("finished")
    if options.rescore is None and done and changed(head.battery, run.scale):
        raise ValueError(
            f"the battery is not what it was when {folder} was scored, and two batteries' values "
            f"do not mix: python launch.py --rescore {folder}"
        )
    if options.only_finals and not done:
        raise ValueError(
            f"{folder} has no finished trial to train again: python launch.py --resume {folder}"
        )


def changed(had: Sequence[Mapping[str, Any]], scale: Scale) -> bool:
    """Whether the battery of a run's values is another one than its scale makes today.

    Settings that the run did not know yet are not compared.
    """
    now = json.loads(json.dumps(described(scale)))
    return len(had) != len(now) or any(
        one[key] != other[key]
        for one, other in zip(had, now, strict=True)
        for key in {*one} & {*other}
    )


def scale_of(head: StudyHeader) -> Scale:
    """The scale of a run; what it did not say yet when it began is as today."""
    return Scale(**{**asdict(spaces.scale(head.scale["name"])), **head.scale})


def with_earlier_defaults(head: StudyHeader) -> StudyHeader:
    """Return the header with what runs had that began before they recorded it."""
    return replace(
        head,
        sampler=head.sampler or "tpe",
        stopper=head.stopper or "none",
        audit=head.audit or 0.0,
        constraints=head.constraints or {},
    )


def _plan_again(options: Options, view: View, machine: Machine) -> Plan:
    """The plan that a run began with, with what may change between sessions."""
    head, folder = with_earlier_defaults(view.header), options.resume
    scale = scale_of(head)
    _check_same(options, view, scale)
    trials = options.trials or max((s["trials"] for s in view.sessions), default=head.trials)
    if trials < len(view.trials):
        raise ValueError(f"--trials {trials}: {folder} has begun {len(view.trials)} trials already")
    if options.budget is not None and options.budget <= view.elapsed:
        raise ValueError(
            f"the budget of {clock(options.budget)} is used up ({clock(view.elapsed)} so far): "
            "give a larger --budget"
        )
    gpus = options.gpus_per_trial
    if gpus is None:
        gpus = scale.gpus if machine.gpus else 0.0
    scale = replace(scale, cpus=options.cpus_per_trial or scale.cpus, gpus=gpus)
    reason = f"{folder} began with it"
    plan = Plan(
        head.space,
        scale,
        reason,
        head.data,
        trials,
        head.seed or 0,
        head.name,
        head.sampler,
        head.stopper,
        head.audit or 0.0,
        head.constraints or {},
    )
    check_trials(options.trials, plan.space)
    check_sampler(plan.sampler, plan.space, plan.trials)
    if plan.space.fingerprint != head.fingerprint:
        raise ValueError(
            f"the space {plan.space_name} has other knobs now than when {folder} began"
        )
    return plan


def _check_same(options: Options, view: View, scale: Scale) -> None:
    """A run goes on as it began; raise ValueError where the flags say otherwise."""
    head = with_earlier_defaults(view.header)
    asked: dict[str, tuple[Any, Any]] = {
        "--space": (options.space, head.space),
        "--scale": (None if options.scale == "auto" else options.scale, scale.name),
        "--data": (None if options.data is None else data_name(options.data), head.data),
        "--epochs": (options.epochs, scale.epochs),
        "--seed": (options.seed, head.seed),
        "--name": (options.name, head.name),
        "--sampler": (options.sampler, head.sampler),
        "--stopper": (options.stopper, head.stopper),
        "--audit": (options.audit, head.audit),
        "--constrain": (bounds(options.constrain) or None, head.constraints),
        "--warm-from": (
            [*map(str, options.warm_from)] or None,
            head.warm and head.warm.runs,
        ),
    }
    for flag, (wanted, had) in asked.items():
        if wanted not in (None, had):
            raise ValueError(f"{options.resume} began with {flag} {had}, not {wanted}")
    if options.out is not None:
        raise ValueError("--resume names the folder: leave --out out")
