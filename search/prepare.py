"""Everything between the wish and the first trial: a new run folder, or one to go on with.

Whatever is wrong is found here, before anything is written: each mistake is a ValueError or an
OSError whose message is the one line that the user sees.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

import spaces
from adv import load
from search.constraint import parse
from search.finals.contest import default_trainings
from search.ledger import FORMAT, Ledger, View, read
from search.live import clock
from search.login import resolve_mode
from search.options import LEDGER, Options, run_folder
from search.plan import (
    Machine,
    Plan,
    budget_text,
    check_sampler,
    check_trials,
    data_name,
    described,
    header,
    make_plan,
    print_plan,
    proposing,
    stopping_text,
)
from search.rescore import there, with_sizes
from search.stopping import stopper
from search.study import Study
from search.tables import write
from search.training import Training
from search.warm import warm
from spaces import Scale


@dataclass(frozen=True)
class Job:
    """A search that is ready to run: its folder exists, its ledger is open."""

    study: Study
    run: Training
    options: Options
    folder: Path
    header: dict[str, Any]
    mode: str
    finals: bool = True

    @property
    def trainings(self) -> int | None:
        """How many its finals take, None where the user left it open."""
        return self.options.final_trainings

    @property
    def scale(self) -> Scale:
        """How big its trials are."""
        return self.run.scale


def dry_run(console: Console, options: Options, machine: Machine) -> None:
    """Print the plan of a new search; start nothing, write nothing."""
    if options.resume:
        raise ValueError("--dry-run plans a new search: leave --resume out")
    folder = run_folder(options)
    plan = make_plan(options, machine, folder.name)
    _print_scale(console, plan.scale, plan.reason)
    notes = {
        "at once": _at_once(options, plan.scale, machine),
        "budget": budget_text(options.budget),
        "finalists": _finals(options, plan),
        "proposes": ", ".join((plan.sampler, *options.constrain)),
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
        f"up to {count} trainings with fresh seeds of what may be on the front, then AutoAttack's "
        f"line-up ({plan.scale.strong_steps} steps) on {plan.scale.test_images} test images"
    )


def prepare(console: Console, options: Options, machine: Machine) -> Job:
    """Get a search ready.

    Raises:
      ValueError, OSError: it cannot be; nothing was left behind.
    """
    mode, why_mode = resolve_mode(options.wandb)
    begin = _resumed if options.resume else _new
    job = begin(console, options, machine, mode)
    off = finals_off(options, job.study.view)
    job.study.ledger.append(
        "session", budget=options.budget, trials=job.study.trials, finalists="off" if off else "on"
    )
    console.print(
        f"Data {escape(str(job.header['data']))}, {job.study.trials} trials of "
        f"{job.scale.epochs} epochs, {_at_once(options, job.scale, machine)}."
    )
    console.print(f"Run folder {escape(str(job.folder))}. {escape(why_mode)}")
    return replace(job, finals=not off)


def _new(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    folder = run_folder(options)
    plan = make_plan(options, machine, folder.name)
    _print_scale(console, plan.scale, plan.reason)
    _at_once(options, plan.scale, machine)
    run = _training(plan)
    plan = replace(plan, scale=run.scale)
    head = header(plan, len(run.data.classes), run.data.fingerprint, secrets.token_hex(4))
    if options.warm_from:
        head["warm"] = warm(options.warm_from, plan.space, head, max(1, plan.trials // 2))
        _print_warm(console, head["warm"])
    proposing(plan.space, head).propose(View(header=head))  # or say why there is no such point
    folder.mkdir(parents=True)
    try:
        write(folder / "study.json", json.dumps({"format": FORMAT, **head}, indent=2) + "\n")
        ledger = Ledger(folder / LEDGER)
        ledger.append("study", format=FORMAT, **head)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Job(_study(plan, ledger, head), run, options, folder, head, mode)


def _resumed(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    folder = run_folder(options)
    view = read(folder / LEDGER)
    if not view.header:
        raise ValueError(f"{folder / LEDGER} is empty: begin anew with another --name")
    plan = _plan_again(options, view, machine)
    _print_scale(console, plan.scale, plan.reason)
    _at_once(options, plan.scale, machine)
    run = _training(plan)
    if options.rescore:
        run = with_sizes(run, options.battery_steps, options.images)
    if run.data.fingerprint != view.header["data_fingerprint"]:
        raise ValueError(f"the data {plan.data} is not what it was when {folder} began")
    if options.rescore is None and view.having("finished") and changed(view.header, plan.scale):
        raise ValueError(
            f"the battery is not what it was when {folder} was scored, and two batteries' values "
            f"do not mix: python launch.py --rescore {folder}"
        )
    if options.only_finals and not view.having("finished"):
        raise ValueError(
            f"{folder} has no finished trial to train again: python launch.py --resume {folder}"
        )
    ledger = Ledger(folder / LEDGER)
    if options.rescore and not there(ledger.view, folder):
        ledger.close()
        raise ValueError(
            f"{folder} holds no weights of a finished trial: there is nothing to re-score"
        )
    counts = {state: len(ledger.view.having(state)) for state in ("finished", "failed", "running")}
    console.print(
        f"Resuming {escape(str(folder))}: {counts['finished']} trials finished, "
        f"{counts['failed']} failed, {counts['running']} to go on with, "
        f"{plan.trials - len(ledger.view.trials)} to come."
    )
    head = dict(view.header)
    return Job(_study(plan, ledger, head), run, options, folder, head, mode)


def changed(head: Mapping[str, Any], scale: Scale) -> bool:
    """Whether the battery of a run's values is another one than its scale makes today.

    Settings that the run did not know yet are not compared.
    """
    had, now = head["battery"], json.loads(json.dumps(described(scale)))
    return len(had) != len(now) or any(
        one[key] != other[key]
        for one, other in zip(had, now, strict=True)
        for key in {*one} & {*other}
    )


def finals_off(options: Options, view: View) -> bool:
    """Whether there are no finals: the user says so, or said so when the run began."""
    if options.finalists != "auto" or options.final_trainings:
        return options.finalists == "off"
    return bool(view.sessions) and view.sessions[-1].get("finalists") == "off"


def _study(plan: Plan, ledger: Ledger, head: Mapping[str, Any]) -> Study:
    return Study(
        plan.space,
        ledger,
        trials=plan.trials,
        seed=plan.seed,
        sampler=proposing(plan.space, head),
        stopper=stopper(plan.stopper, seed=plan.seed, audit=plan.audit),
    )


def scale_of(head: Mapping[str, Any]) -> Scale:
    """The scale of a run; what it did not say yet when it began is as today."""
    return Scale(**{**asdict(spaces.scale(head["scale"]["name"])), **head["scale"]})


def _print_warm(console: Console, known: Mapping[str, Any]) -> None:
    told, points = len(known["told"]), len(known["points"])
    values = f"{told} values taken over" if told else "no values: another battery, data or scale"
    console.print(f"Warm start: {points} points of earlier fronts come first, {values}.")


def _plan_again(options: Options, view: View, machine: Machine) -> Plan:
    """The plan that a run began with, with what may change between sessions."""
    head, folder = view.header, options.resume
    scale = scale_of(head)
    _check_same(options, view, scale)
    trials = options.trials or max((s["trials"] for s in view.sessions), default=head["trials"])
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
        head["space"],
        scale,
        reason,
        head["data"],
        trials,
        head["seed"],
        head["name"],
        head.get("sampler", "tpe"),
        head.get("stopper", "none"),
        head.get("audit", 0.0),
        head.get("constraints", {}),
    )
    check_trials(options.trials, plan.space)
    check_sampler(plan.sampler, plan.space, plan.trials)
    if plan.space.fingerprint != head["fingerprint"]:
        raise ValueError(
            f"the space {plan.space_name} has other knobs now than when {folder} began"
        )
    return plan


def _check_same(options: Options, view: View, scale: Scale) -> None:
    """A run goes on as it began; raise ValueError where the flags say otherwise."""
    head = view.header
    asked: dict[str, tuple[Any, Any]] = {
        "--space": (options.space, head["space"]),
        "--scale": (None if options.scale == "auto" else options.scale, scale.name),
        "--data": (None if options.data is None else data_name(options.data), head["data"]),
        "--epochs": (options.epochs, scale.epochs),
        "--seed": (options.seed, head["seed"]),
        "--name": (options.name, head["name"]),
        "--sampler": (options.sampler, head.get("sampler", "tpe")),
        "--stopper": (options.stopper, head.get("stopper", "none")),
        "--audit": (options.audit, head.get("audit", 0.0)),
        "--constrain": (_bounds(options) or None, head.get("constraints", {})),
        "--warm-from": (
            [*map(str, options.warm_from)] or None,
            head.get("warm", {}).get("runs"),
        ),
    }
    for flag, (wanted, had) in asked.items():
        if wanted not in (None, had):
            raise ValueError(f"{options.resume} began with {flag} {had}, not {wanted}")
    if options.out is not None:
        raise ValueError("--resume names the folder: leave --out out")


def _bounds(options: Options) -> dict[str, float]:
    return {bound.name: bound.bound for bound in map(parse, options.constrain)}


def _training(plan: Plan) -> Training:
    """The run, with its data loaded; a small validation split is divided two to one."""
    data, scale = load(plan.data), plan.scale
    have = len(data.validation)
    if have < scale.images + scale.watch_images:
        images = min(scale.images, max(1, have * 2 // 3))
        scale = replace(scale, images=images, watch_images=max(1, have - images))
    scale = replace(scale, test_images=min(scale.test_images, len(data.test)))
    return Training(plan.space_name, scale, data, rungs=plan.stopper != "none")


def _at_once(options: Options, scale: Scale, machine: Machine) -> str:
    """What runs at once, in words; ValueError where not even one trial fits."""
    have = f"{machine.where} has {machine.cpus:g} CPUs and {machine.gpus:g} GPUs"
    if options.serial:
        return f"one at a time in this process; {have}"
    fits = int(machine.cpus / scale.cpus + 1e-6)
    if scale.gpus:
        fits = min(fits, int(machine.gpus / scale.gpus + 1e-6))
    if not fits:
        raise ValueError(f"a trial needs {scale.cpus:g} CPUs and {scale.gpus:g} GPUs; {have}")
    return (
        f"{min(fits, options.concurrent or fits)} at once with {scale.cpus:g} CPUs and "
        f"{scale.gpus:g} GPUs each; {have}"
    )


def _print_scale(console: Console, scale: Scale, reason: str) -> None:
    console.print(f"Scale: [bold]{scale.name}[/], because {escape(reason)}.")
