"""Resume a run: it keeps what it began with, and refuses flags that do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from adv import Data
from adv.data.names import check_run, resolve_name
from adv.files import sweep_partials
from adv.shell import join_command, quote
from adv.user_code import hash_source, name_file, named_files
from search.formatting import format_clock
from search.record.constraints import parse_bounds
from search.record.json_records import FieldError
from search.record.ledger import Ledger, read
from search.record.run_files import check_links, list_folders
from search.record.run_folder import LEDGER, STUDY
from search.record.study_header import StudyHeader
from search.record.view import View
from search.reporting.terminal import print_text
from search.session.header import describe_battery
from search.session.job import (
    Job,
    describe_concurrency,
    make_study,
    make_training,
    print_scale,
)
from search.session.options import Options, choose_run_folder
from search.session.parts import Parts, find_changes_of_code, recorded_parts
from search.session.plan import (
    Machine,
    Plan,
    check_sampler,
    check_trials,
    fit_ranks,
)
from search.session.recorded_settings import (
    check_recorded_names,
    check_recorded_params,
    restore_scale,
)
from search.session.rescore import change_battery
from search.session.stored_nets import has_stored_nets
from search.trials.train_trial import Training
from spaces import Scale, is_file, parse_objectives, parse_threat_model


def _describe_remedy(folder: Path) -> str:
    """Return what can be done about a ledger without any event."""
    anew = "start again with another --name"
    if not (folder / STUDY).is_file():
        return anew
    command = join_command("python", "launch.py", "--repair", folder)
    return f"{anew}, or take what was searched from {STUDY}: {command}"


def resume_run(
    console: Console, options: Options, machine: Machine, mode: str, data: Data | None = None
) -> Job:
    """Get a run ready to go on.

    Raises:
      ValueError: it cannot go on, or not with these flags.
    """
    folder = choose_run_folder(options)
    check_links(folder)
    view = read(folder / LEDGER)
    if not view.header.format:
        raise ValueError(f"{folder / LEDGER} is empty: {_describe_remedy(folder)}")
    options = replace(options, ranks_per_trial=choose_ranks(options, view))
    plan = _restore_plan(options, view, machine)
    print_scale(console, plan.scale, plan.reason)
    describe_concurrency(options, plan.scale, machine)
    run = make_training(plan, data)
    if options.rescore:
        run = change_battery(
            run, options.score, options.battery_steps, options.images, options.battery
        )
    _check_comparable(options, view, run)
    net = plan.parts["net"].source.rpartition(":")[0] if "net" in plan.parts else ""
    for file in describe_changed_sources(view.header):
        if file != net:  # which the next line names
            console.print(f"{file} has changed since the run began.", markup=False)
    if changed := find_changes_of_code(run, plan.points[0], view.header):
        print_text(console, changed)
    ledger = Ledger(folder / LEDGER)  # which no other driver can open now
    for room in (folder, *list_folders(folder)):
        sweep_partials(room)
    if options.rescore and not has_stored_nets(ledger.view, folder):
        ledger.close()
        raise ValueError(
            f"{folder} holds no weights of a finished trial: there is nothing to re-score"
        )
    counts = {
        state: len(ledger.view.in_state(state)) for state in ("finished", "failed", "running")
    }
    console.print(
        f"Resuming {escape(str(folder))}: {counts['finished']} trials finished, "
        f"{counts['failed']} failed, {counts['running']} to resume, "
        f"{plan.trials - len(ledger.view.trials)} to come."
    )
    return Job(make_study(plan, ledger), run, options, folder, mode)


def choose_ranks(options: Options, view: View) -> int | None:
    """Return the ranks of a trial that are asked for: now, or else in the last session that did.

    Earlier ones do not hold for other GPUs, or other cores, that are asked for now.
    """
    if options.gpus_per_trial is not None or options.cpus_per_trial is not None:
        return options.ranks_per_trial
    earlier = (session.ranks for session in reversed(view.sessions))
    return options.ranks_per_trial or next(filter(None, earlier), None)


def _check_comparable(options: Options, view: View, run: Training) -> None:
    """Raise ValueError if new results would not be comparable with those of the run."""
    folder, header = options.resume, view.header
    assert folder is not None
    if run.data.fingerprint != header.data_fingerprint:
        raise ValueError(f"the data {header.data} has changed since {folder} began")
    done = view.in_state("finished")
    if options.rescore is None and done and battery_differs(header.battery, run.scale):
        raise ValueError(
            f"the battery has changed since {folder} was scored, and results of two batteries "
            f"cannot be compared: {join_command('python', 'launch.py', '--rescore', folder)}"
        )
    if options.only_finals and not view.scored():
        raise ValueError(
            f"{folder} has no finished trial to train again: "
            + join_command("python", "launch.py", "--resume", folder, *header.code_flags)
        )


def battery_differs(recorded: Sequence[Mapping[str, Any]], scale: Scale) -> bool:
    """Return whether a scale attacks in another way than a header records.

    Settings that were not recorded are not compared, but a header without second attacks is of a
    battery that had none.
    """
    now = json.loads(json.dumps(describe_battery(scale)))
    return len(recorded) != len(now) or any(
        one.get(key) != other.get(key)
        for one, other in zip(recorded, now, strict=True)
        for key in {*one} & {*other} | {"second"}
    )


def _restore_plan(options: Options, view: View, machine: Machine) -> Plan:
    """Return the plan that a run began with, with what may change between sessions."""
    header, folder = fill_in_defaults(view.header), options.resume
    assert folder is not None
    try:
        scale = restore_scale(header)
        check_recorded_names(header)
    except ValueError as error:
        raise ValueError(f"{folder / LEDGER}, event study: {error}") from None
    _check_flags(options, header, scale)
    space_name = name_code(options, header)
    if options.data is None and not options.trust_code:
        check_run(header.data, str(folder))
    planned = max((session.trials for session in view.sessions), default=0) or header.trials
    trials = options.trials or planned
    if trials < len(view.trials):
        raise ValueError(f"--trials {trials}: {folder} has begun {len(view.trials)} trials already")
    if options.budget is not None and options.budget <= view.elapsed:
        raise ValueError(
            f"the budget of {format_clock(options.budget)} is used up "
            f"({format_clock(view.elapsed)} so far): "
            "give a larger --budget"
        )
    gpus = options.gpus_per_trial
    if gpus is None:
        gpus = scale.gpus if machine.gpus else 0.0
    cpus = options.cpus_per_trial or scale.cpus
    scale = fit_ranks(options, replace(scale, cpus=cpus, gpus=gpus))
    plan = Plan(
        space_name=space_name,
        scale=scale,
        reason=f"{folder} began with it",
        data=header.data,
        trials=trials,
        seed=header.seed or 0,
        name=header.name,
        sampler=header.sampler,
        stopper=header.stopper,
        audit=header.audit or 0.0,
        constraints=header.constraints or {},
        settings=tuple(header.settings or ()),
        first=header.first,
        objectives=header.aims,
        parts=_restore_parts(options, header),
        ranks=options.ranks_per_trial or 0,
    )
    check_trials(options.trials, plan.space)
    check_sampler(plan.sampler, plan.space, plan.trials)
    if plan.space.fingerprint != header.fingerprint:
        raise ValueError(
            f"the space {plan.space_name} has other hyperparameters now than when {folder} began"
        )
    try:
        check_recorded_params(plan.space, view)
    except ValueError as error:
        raise ValueError(f"{folder / LEDGER}, {error}") from None
    return plan


def name_code(options: Options, header: StudyHeader) -> str:
    """Return the space of a run, and allow its files of code to be run if the user has said so.

    Raises:
      ValueError: the run names a file that the user has not named.
    """
    if options.trust_code:
        for source in header.sources or {}:
            name_file(source)
    model = parse_threat_model(header.threat_model)
    file = model.file
    if model.is_code and options.battery is None and not options.trust_code:
        raise ValueError(
            f"{options.resume} has the battery {model.text}, and that code is run only if you name "
            f"it: --battery {quote(header.threat_model)}, or --trust-code"
        )
    recorded = (header.sources or {}).get(file or "", "")
    if file is not None and options.rescore is None and recorded != hash_source(file):
        raise ValueError(
            f"the battery of {file} has changed since {options.resume} was scored, and results of "
            "two batteries cannot be compared: "
            + join_command(
                "python", "launch.py", "--rescore", str(options.resume), *header.code_flags
            )
        )
    if not is_file(header.space):
        return header.space
    if options.space is not None:
        return options.space
    if not options.trust_code:
        raise ValueError(
            f"{options.resume} searches the space of {header.space}, and that file is run only if "
            f"you name it: --space-file {quote(header.space)}, or --trust-code"
        )
    return str(name_file(header.space))


def describe_changed_sources(header: StudyHeader) -> list[str]:
    """Return the files of code that have changed since a run began, as far as they may be run."""
    return [
        file
        for file, digest in (header.sources or {}).items()
        if file in named_files() and hash_source(file) != digest
    ]


def _restore_parts(options: Options, header: StudyHeader) -> Parts:
    try:
        return recorded_parts(options, header)
    except FieldError as error:
        assert options.resume is not None
        raise ValueError(f"{options.resume / LEDGER}, event study: {error}") from None


def fill_in_defaults(header: StudyHeader) -> StudyHeader:
    """Return a header with the settings of runs that began before these were recorded."""
    return replace(
        header,
        sampler=header.sampler or "tpe",
        stopper=header.stopper or "none",
        audit=header.audit or 0.0,
        constraints=header.constraints or {},
    )


def _check_flags(options: Options, header: StudyHeader, scale: Scale) -> None:
    """Raise ValueError if a flag contradicts what a run began with."""
    data = None if options.data is None else resolve_name(options.data)
    flags: dict[str, tuple[Any, Any]] = {
        "--space": (None if options.space_file else options.space, header.space),
        "--objectives": (
            options.objectives and ",".join(parse_objectives(options.objectives)),
            ",".join(header.aims),
        ),
        "--set": ([*options.set_] or None, header.settings),
        "--scale": (None if options.scale == "auto" else options.scale, scale.name),
        "--data": (data, header.data),
        "--image-size": (options.image_size, scale.image_size),
        "--epochs": (options.epochs, scale.epochs),
        "--seed": (options.seed, header.seed),
        "--name": (options.name, header.name),
        "--sampler": (options.sampler, header.sampler),
        "--stopper": (options.stopper, header.stopper),
        "--audit": (options.audit, header.audit),
        "--constrain": (parse_bounds(options.constrain) or None, header.constraints),
        "--warm-from": (
            [*map(str, options.warm_from)] or None,
            header.warm and header.warm.runs,
        ),
    }
    for flag, (asked, recorded) in flags.items():
        if asked not in (None, recorded):
            raise ValueError(f"{options.resume} began with {flag} {recorded}, not {asked}")
    if options.out is not None:
        raise ValueError("--resume names the folder: leave out --out")
    if options.near is not None:
        raise ValueError("a run keeps its space: --near begins a new search")
    if options.rescore is None and options.battery not in (None, scale.threat_model):
        assert options.resume is not None and options.battery is not None
        words = ("--rescore", options.resume, "--battery", options.battery)
        raise ValueError(
            f"{options.resume} began with --battery {scale.threat_model}, and a run keeps its "
            f"battery; to score its nets by another one: "
            f"{join_command('python', 'launch.py', *words)}"
        )
    if options.rescore is None and options.score not in (None, scale.score):
        assert options.resume is not None and options.score is not None
        words = ("--rescore", options.resume, "--score", options.score)
        raise ValueError(
            f"{options.resume} has the {scale.score} score, and a run keeps its score; to score "
            f"its nets by the {options.score} score: {join_command('python', 'launch.py', *words)}"
        )
