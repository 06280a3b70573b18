"""One start of `launch.py`, from what the user asked for to the exit status."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from search import serial
from search.ledger import FORMAT, Event, Ledger, View, read
from search.live import Live, clock, front_table
from search.login import resolve_mode
from search.options import Options
from search.plan import (
    PROJECT,
    Machine,
    Plan,
    budget_text,
    header,
    make_plan,
    print_plan,
)
from search.report import write_report
from search.stop import Interrupted, Stop
from search.study import Study
from search.tables import write_tables
from search.tracking import Tracker
from search.training import STATE, Training
from spaces import Scale

LEDGER = "ledger.jsonl"
REPORT_EVERY = 20.0  # seconds between two writings of the report while the search runs


@dataclass(frozen=True)
class Job:
    """A search that is ready to run: its folder exists, its ledger is open."""

    study: Study
    run: Training
    scale: Scale
    options: Options
    machine: Machine
    folder: Path
    header: dict[str, Any]
    mode: str


def session(options: Options) -> int:
    """Plan, search, sum up.

    Returns:
      The exit status: 0 done, 1 failed, 2 wrong usage, 3 no usable result, 130 interrupted, 143
      terminated.
    """
    console = Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        try:
            machine = stack.enter_context(_machine(options))
            if options.dry_run:
                _dry_run(console, options, machine)
                return 0
            job = _prepare(console, options, machine)
        except (ValueError, OSError) as error:
            return _refuse(console, error)
        except KeyboardInterrupt:
            return _say_error("interrupted before anything began", 130)
        stack.callback(job.study.ledger.close)
        return _search(console, job)


def _refuse(console: Console, error: Exception) -> int:
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return _say_error(f"cannot use{where}: {error.strerror or error}", 2)
    return _say_error(str(error), 2)


def _say_error(message: str, code: int) -> int:
    print(f"launch.py: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code


@contextmanager
def _machine(options: Options) -> Iterator[Machine]:
    """What the search runs on, connected to for as long as the context lasts."""
    import os

    elsewhere = options.address or os.environ.get("RAY_ADDRESS")
    if options.serial or (options.dry_run and not elsewhere):
        import torch

        yield Machine("this machine", float(_cpus()), float(torch.cuda.device_count()))
        return
    from search import cluster

    joined = cluster.connect(options.address, project=PROJECT)
    where = f"the cluster at {joined.address}" if joined.address else "this machine"
    try:
        yield Machine(where, joined.cpus, joined.gpus)
    finally:
        cluster.disconnect()


def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _dry_run(console: Console, options: Options, machine: Machine) -> None:
    if options.resume:
        raise ValueError("--dry-run plans a new search: leave --resume out")
    plan = make_plan(options, machine, options.name or _fresh_name(options))
    _print_scale(console, plan.scale, plan.reason)
    notes = {
        "at once": _at_once(options, plan.scale, machine),
        "budget": budget_text(options.budget),
        "output": str(_free_folder(options, plan.name)),
        "tracking": resolve_mode(options.wandb)[1],
    }
    print_plan(console, plan, notes)


def _at_once(options: Options, scale: Scale, machine: Machine) -> str:
    each = f"{scale.cpus:g} CPUs and {scale.gpus:g} GPUs a trial"
    have = f"{machine.where} has {machine.cpus:g} CPUs and {machine.gpus:g} GPUs"
    if options.serial:
        return f"1 trial, in this process; {have}"
    fits = int(machine.cpus / scale.cpus + 1e-6)
    if scale.gpus:
        fits = min(fits, int(machine.gpus / scale.gpus + 1e-6))
    if not fits:
        raise ValueError(f"a trial needs {scale.cpus:g} CPUs and {scale.gpus:g} GPUs; {have}")
    return f"{min(fits, options.concurrent or fits, scale.trials)} trials, {each}; {have}"


def _print_scale(console: Console, scale: Scale, reason: str) -> None:
    console.print(f"Scale: [bold]{scale.name}[/], because {escape(reason)}.")


def _fresh_name(options: Options) -> str:
    return f"{options.space}-{time.strftime('%Y%m%d-%H%M%S')}"


def _free_folder(options: Options, name: str) -> Path:
    folder = (options.out or Path("runs")) / name
    if folder.exists():
        raise ValueError(f"{folder} exists: go on with --resume {folder}, or take another --name")
    return folder


def _prepare(console: Console, options: Options, machine: Machine) -> Job:
    mode, why_mode = resolve_mode(options.wandb)
    job = (
        _prepare_resumed(console, options, machine, mode)
        if options.resume
        else _prepare_new(console, options, machine, mode)
    )
    job.study.ledger.append("session", budget=options.budget, trials=job.study.trials)
    scale = job.scale
    console.print(
        f"Data {escape(str(job.header['data']))}, {job.study.trials} trials of {scale.epochs} epochs, "
        f"{_at_once(options, scale, machine)}."
    )
    console.print(f"Run folder {escape(str(job.folder))}. {escape(why_mode)}")
    return job


def _prepare_new(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    plan = make_plan(options, machine, options.name or _fresh_name(options))
    _print_scale(console, plan.scale, plan.reason)
    _at_once(options, plan.scale, machine)
    folder = _free_folder(options, plan.name)
    run = _training(plan, plan.scale)
    head = header(plan, len(run.data.classes), run.data.fingerprint, secrets.token_hex(4))
    folder.mkdir(parents=True)
    try:
        ledger = Ledger(folder / LEDGER)
        ledger.append("study", format=FORMAT, **head)
        _write_study(folder, head)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    study = Study(plan.space, ledger, trials=plan.trials, seed=plan.seed)
    return Job(study, run, plan.scale, options, machine, folder, head, mode)


def _prepare_resumed(console: Console, options: Options, machine: Machine, mode: str) -> Job:
    folder = options.resume
    assert folder is not None
    if not (folder / LEDGER).is_file():
        raise ValueError(f"{folder} holds no search: no {LEDGER} there")
    view = read(folder / LEDGER)
    head = dict(view.header)
    if not head:
        raise ValueError(f"{folder / LEDGER} is empty: start anew with another --name")
    scale = Scale(**head["scale"])
    _check_same(options, head, scale)
    trials = options.trials or max((s["trials"] for s in view.sessions), default=head["trials"])
    if trials < len(view.trials):
        raise ValueError(f"--trials {trials}: this run has begun {len(view.trials)} trials already")
    if options.budget is not None and options.budget <= view.elapsed:
        raise ValueError(
            f"the budget of {clock(options.budget)} is used up ({clock(view.elapsed)} so far): "
            "give a larger --budget"
        )
    cpus = options.cpus_per_trial or scale.cpus
    gpus = scale.gpus if options.gpus_per_trial is None else options.gpus_per_trial
    if machine.gpus == 0 and options.gpus_per_trial is None:
        gpus = 0.0
    scale = replace(scale, cpus=cpus, gpus=gpus)
    plan = Plan(
        head["space"],
        scale,
        "the run began with it",
        head["data"],
        trials,
        head["seed"],
        head["name"],
    )
    if plan.space.fingerprint != head["fingerprint"]:
        raise ValueError(
            f"the space {plan.space_name} has other knobs now than when {folder} began"
        )
    _print_scale(console, scale, plan.reason)
    _at_once(options, scale, machine)
    run = _training(plan, scale)
    if run.data.fingerprint != head["data_fingerprint"]:
        raise ValueError(f"the data {plan.data} is not what it was when {folder} began")
    ledger = Ledger(folder / LEDGER)
    study = Study(plan.space, ledger, trials=trials, seed=plan.seed)
    done = {state: len(ledger.view.having(state)) for state in ("finished", "failed", "running")}
    console.print(
        f"Resuming {escape(str(folder))}: {done['finished']} trials finished, {done['failed']} "
        f"failed, {done['running']} to go on with, {trials - len(ledger.view.trials)} to come."
    )
    return Job(study, run, scale, options, machine, folder, head, mode)


def _check_same(options: Options, head: dict[str, Any], scale: Scale) -> None:
    """A run goes on as it began; raise ValueError where the flags say otherwise."""
    asked = {
        "--space": (options.space, head["space"]),
        "--scale": (None if options.scale == "auto" else options.scale, scale.name),
        "--data": (options.data, head["data"]),
        "--epochs": (options.epochs, scale.epochs),
        "--seed": (options.seed, head["seed"]),
        "--name": (options.name, head["name"]),
    }
    for flag, (wanted, had) in asked.items():
        same = wanted in (None, had) or (
            flag == "--data" and str(Path(str(wanted)).expanduser().absolute()) == had
        )
        if not same:
            raise ValueError(
                f"{options.resume} began with {flag} {had}, it cannot go on with {wanted}"
            )
    if options.out is not None:
        raise ValueError("--resume names the folder: leave --out away")


def _training(plan: Plan, scale: Scale) -> Training:
    from adv import load

    data = load(plan.data)
    if len(data.validation) < scale.images + scale.watch_images:
        images = max(1, len(data.validation) * 2 // 3)
        watch = max(1, len(data.validation) - images)
        scale = replace(
            scale, images=min(scale.images, images), watch_images=min(scale.watch_images, watch)
        )
    return Training(plan.space_name, scale, data)


def _write_study(folder: Path, head: dict[str, Any]) -> None:
    import json

    from search.tables import write

    write(folder / "study.json", json.dumps({"format": FORMAT, **head}, indent=2) + "\n")


def _search(console: Console, job: Job) -> int:
    study, view = job.study, job.study.view
    left = None if job.options.budget is None else job.options.budget - view.elapsed
    stop = Stop(left)
    live = Live(console, study.trials, view)
    tracker = Tracker(
        job.folder,
        job.header,
        job.mode,
        job.options.wandb_project,
        job.options.wandb_entity,
        say=lambda line: console.print(escape(line)),
    )
    study.ledger.readers += [live, tracker, _Pages(job.folder), _tidy(job.folder)]
    with stop.listening():
        code, note = 0, ""
        try:
            with live:
                _run(job, stop)
        except Interrupted as early:
            code, note = early.code, early.reason
        except (ValueError, OSError) as error:
            code, note = 1, f"{type(error).__name__}: {error}"
        if study.open or view.having("running"):
            note = note or "not all trials ran"
        _wrap_up(console, job, tracker, note, code)
    if code == 0 and not view.having("finished"):
        return 3
    return code


def _run(job: Job, stop: Stop) -> None:
    if job.options.serial:
        serial.search(job.study, job.run, stop)
        return
    from search import cluster

    resources = cluster.Resources(job.scale.cpus, job.scale.gpus, job.options.concurrent)
    cluster.search(job.study, job.run, stop, resources)


class _Pages:
    """A reader that keeps the tables and the report up to date while the search runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, time.monotonic()

    def __call__(self, event: Event, view: View) -> None:
        if event["event"] not in {"finished", "failed", "stopped"}:
            return
        write_tables(view, self.folder)
        if time.monotonic() - self.written > REPORT_EVERY:
            write_report(view, self.folder / "report.html")
            self.written = time.monotonic()


def _tidy(folder: Path) -> Any:
    """A reader that removes what a trial needs only to go on, once it has ended."""

    def read_event(event: Event, view: View) -> None:
        if event["event"] in {"finished", "failed"}:
            name = view.trials[event["trial"]].name
            (folder.absolute() / "trials" / name / STATE).unlink(missing_ok=True)

    return read_event


def _wrap_up(console: Console, job: Job, tracker: Tracker, note: str, code: int) -> None:
    """Write everything and say where it is."""
    study, view, folder = job.study, job.study.view, job.folder
    study.ledger.append("end", reason=note or "done", code=code)
    _copy_front(view, folder)
    write_tables(view, folder)
    write_report(view, folder / "report.html")
    tracker.close()
    members = view.front()
    counts = f"{len(view.having('finished'))} trials finished, {len(view.having('failed'))} failed"
    console.print(
        f"\n{counts}, {clock(view.elapsed)} in all{f'; {note}' if note else ''}.\n", markup=False
    )
    if members:
        console.print(front_table(members))
        n = (members[0].result.details if members[0].result else {}).get("images", "?")
        console.print(
            f"95 % intervals over {n} validation images; the front was chosen on them, so expect a "
            "little less on new images:"
        )
        console.print(
            f"  python -m adv evaluate {folder}/front/{members[0].name}.safetensors --split test\n",
            soft_wrap=True,
            markup=False,
        )
    console.print(f"report   {folder / 'report.html'}", markup=False)
    if members:
        console.print(f"weights  {folder / 'front'}/", markup=False)
    if where := tracker.where():
        console.print(f"W&B      {where}", markup=False)
    if note:
        console.print(f"go on    python launch.py --resume {folder}", markup=False)


def _copy_front(view: View, folder: Path) -> None:
    """The weights of the front's members, and of no others, in `front/`."""
    target = folder / "front"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for trial in view.front():
        weights = trial.result.details.get("weights") if trial.result else None
        if weights and (folder / weights).is_file():
            shutil.copyfile(folder / weights, target / f"{trial.name}.safetensors")
