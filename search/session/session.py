"""One start of `launch.py`, from the flags to the exit status."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

import spaces
from adv.shell import name_program
from adv.terminal.console import PlainConsole, open_console, print_error, print_line
from search.backends import serial
from search.backends.worker_process import WorkerProcess
from search.errors import StorageError, find_storage_error
from search.interrupt import Interrupt, Interrupted
from search.outcome.front import find_front
from search.record.ledger import Ledger, read
from search.record.provenance import PROJECT
from search.record.run_folder import LEDGER
from search.record.trial import Run
from search.record.trial_result import TrialResult
from search.reporting.terminal import LiveProgress
from search.session.advise import UntilGain
from search.session.hold_run import hold_run, joins_cluster, with_names
from search.session.job import Job
from search.session.options import Options, find_range
from search.session.outcome_json import describe_in_one_line, encode_outcome
from search.session.outputs import add_readers, write_outputs
from search.session.parts import parts_of
from search.session.plan import Machine
from search.session.prepare import dry_run, prepare
from search.session.rescore import Rescoring, rescore, rescore_net
from search.session.rescore_in_worker import rescore_in_worker
from search.session.resume_or_start import resume_or_start
from search.session.start_finals import start_finals
from search.session.stored_nets import StoredNet
from search.session.summary import print_summary, resume_command
from search.study import Study
from search.tracking.background_copy import BackgroundCopy
from search.tracking.copies import open_copies
from search.tracking.optuna_storage import OptunaCopy, open_storage
from search.tracking.tracker import Tracker
from search.tracking.wandb_environment import DEFAULT_PROJECT
from search.trials.rank_count import count_ranks

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


def run_session(options: Options, interrupt: Interrupt | None = None) -> int:
    """Plan a search, run it and summarise it.

    Args:
      options: of the command line.
      interrupt: says when to end early.

    Returns:
      The exit status: 0 done, 1 failed, 2 wrong usage, 3 no usable result, 129 terminal closed,
      130 interrupted, 141 nobody reads the output, 143 terminated.

    Raises:
      Interrupted: before anything was written.
    """
    interrupt = interrupt or Interrupt()
    console = _open(options)
    if not options.dry_run:
        console.on_close = lambda: interrupt.request(signal.SIGPIPE)

    with ExitStack() as stack:
        try:
            ready = _begin(stack, console, options, interrupt)
        except (StorageError, OSError, ValueError) as error:
            return _print_error(*_explain(error))
        if isinstance(ready, int):
            return ready
        job, copy = ready
        stack.callback(job.study.ledger.close)
        code, note = run_job(console, job, interrupt, open_backend, copy)
        if code == 1 or code == 128 + signal.SIGPIPE:  # so the summary was not read either
            _print_error(f"{note}; resume with: {resume_command(job)}", code)
        if interrupt.lost:
            from search.backends import ray_tune

            ray_tune.abandon(code)
        return code


def _open(options: Options) -> PlainConsole:
    """Return the console of a session: nobody reads it with --quiet, stderr has it with --json."""
    if options.quiet:
        return PlainConsole(file=io.StringIO())
    return open_console(stderr=options.json_)


def _begin(
    stack: ExitStack, console: Console, options: Options, interrupt: Interrupt
) -> tuple[Job, BaseStorage | None] | int:
    """Return a search that is ready, and a storage of Optuna; an exit status if there is none."""
    options = with_names(options)
    if options.dry_run:
        dry_run(console, options, stack.enter_context(_connect(console, options)))
        return 0

    def say(line: str) -> None:
        console.print(escape(line))

    held = stack.enter_context(hold_run(options, say))
    if options.resume_or_start:
        start = resume_or_start(options)
        if start.finished:
            say(start.finished)
            problem = held.mirror(say).close() if held else ""  # it may lack the end
            return _print_error(problem, 1) if problem else start.code
        options = start.options
    machine = stack.enter_context(_connect(console, options))
    if joins_cluster(options):
        from search.session.check_cluster import check_cluster

        check_cluster(options, machine, held)
    copy = open_storage(options.optuna_storage) if options.optuna_storage else None
    copies = open_copies(options.mlflow, options.tensorboard)
    job = prepare(console, options, machine, interrupt)
    return replace(job, mirror=held.mirror(say) if held else None, copies=copies), copy


def _explain(error: Exception) -> tuple[str, int]:
    """Return why a search cannot be started, in one line, and the exit status."""
    if storage := find_storage_error(error):
        return str(storage), 1
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return f"cannot use{where}: {error.strerror or error}", 2
    return str(error), 2


def _print_error(message: str, code: int) -> int:
    print_error(name_program(), message)
    return code


@contextmanager
def _connect(console: Console, options: Options) -> Iterator[Machine]:
    """Connect to what the search runs on, for as long as the block runs."""
    elsewhere = options.address or os.environ.get("RAY_ADDRESS")
    if options.serial or (options.dry_run and not elsewhere):
        import torch

        yield Machine("this machine", float(_count_cpus()), float(torch.cuda.device_count()))
        return
    for folder in (*filter(None, [options.resume]), *options.warm_from):
        read(folder / LEDGER)  # a cluster takes seconds to start: refuse a damaged ledger before
    if options.space is not None:
        # And a space whose file cannot be used, or that does not fit the flags.
        spaces.load_any(options.space).with_parts(**parts_of(options))
    from search.backends import ray_tune

    cluster = ray_tune.connect(options.address, project=PROJECT)
    if cluster.swept:
        console.print(cluster.swept, markup=False)
    where = f"the cluster at {cluster.address}" if cluster.address else "this machine"
    most = max(options.min_gpus or 0.0, options.max_gpus or 0.0)
    grows = f" ({cluster.gpus:g} now, the rest is asked for)" if most > cluster.gpus else ""
    try:
        yield Machine(where, cluster.cpus, max(most, cluster.gpus), grows)
    finally:
        ray_tune.disconnect()


def _count_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Backend = Callable[[Job, Interrupt], AbstractContextManager[Callable[[Study, Run], None]]]


def run_job(
    console: PlainConsole,
    job: Job,
    interrupt: Interrupt,
    backend: Backend,
    storage: BaseStorage | None = None,
) -> tuple[int, str]:
    """Run a job that is ready, and write its outputs.

    Args:
      console: to print to.
      job: the search.
      interrupt: says when to end early.
      backend: gives what runs a study, for as long as its block runs.
      storage: of Optuna, to which the search is copied; None for none.

    Returns:
      The exit status, and why the search ended early, "" if it did not.
    """
    study, options = job.study, job.options
    if options.budget is not None:
        interrupt.limit_time(options.budget - study.view.elapsed)
    expected = job.expected_trials, study.view, job.expected_trainings
    live = LiveProgress(console, *expected, job.folder)

    def say(line: str) -> None:
        console.print(escape(line))

    warn = partial(print_line, stderr=True) if options.quiet else say  # --quiet prints failures too
    tracker = Tracker(
        job.folder,
        job.header,
        job.mode,
        options.wandb_project or DEFAULT_PROJECT,
        options.wandb_entity,
        say=say,
    )
    copy = OptunaCopy(storage, job.header, job.study.space) if storage else None
    copies = {name: BackgroundCopy(name, one, warn) for name, one in job.copies.items()}
    add_readers(job, live, tracker, {"Optuna storage": copy, **copies} if copy else copies, warn)
    code, note = 0, ""
    if job.mirror:
        job.mirror.start()
    try:
        with live:
            _run(console, job, interrupt, backend)
    except Interrupted as early:
        code, note = early.code, early.reason
    except (StorageError, ValueError, OSError) as error:
        code, note = 1, str(find_storage_error(error) or error)
    if problem := write_outputs(job, tracker, note, code):
        code, note = 1, note if code == 1 else problem
    for one in copies.values():
        one.close()
    if job.mirror and (problem := job.mirror.close()):
        code, note = 1, note if code == 1 else problem
        say(f"Storage: {problem}.")
    try:
        print_summary(console, job, tracker.describe_location(), note)
        _print_result(job, code, note, tracker.describe_location())
    except OSError as error:
        code, note = 1, str(find_storage_error(error) or error)
    return 3 if code == 0 and not study.view.scored() else code, note


def _print_result(job: Job, code: int, note: str, tracking: str) -> None:
    """Print what --json and --quiet promise on stdout; nothing without them."""
    view, folder = job.study.view, job.folder
    code = 3 if code == 0 and not view.scored() else code
    if job.options.json_:
        print_line(encode_outcome(view, folder, code=code, reason=note, tracking=tracking))
    elif job.options.quiet:
        print_line(f"{describe_in_one_line(view, folder)}\n{folder}")


def _run(console: Console, job: Job, interrupt: Interrupt, backend: Backend) -> None:
    """Run the search and then its finals, or score stored nets again."""
    until = None
    if job.options.until_gain is not None:
        until = job.study.sampler = UntilGain(job.study.sampler, job.options.until_gain)
    interrupt.check()  # a signal, or a reader that went away, while the job was prepared
    if job.options.rescore:
        _rescore(console, job, interrupt)
        return
    with backend(job, interrupt) as run:
        if not job.options.only_finals:
            run(job.study, job.run)
            if until and until.gain is not None:
                job.study.exhausted = False  # the limit ended the search, not the space
                job.study.ledger.append("enough", **until.event())
                console.print(until.describe(job.folder), markup=False)
        if job.finals and (finals := start_finals(console, job.study, job.run, job.trainings)):
            run(*finals)


def _rescore(console: Console, job: Job, interrupt: Interrupt) -> None:
    before = find_front(job.study.view).numbers
    console.print(f"Re-scoring with {_describe_battery(job)}. Nothing is trained.", markup=False)
    assert isinstance(job.study.ledger, Ledger)
    elsewhere = job.mirror.store.location if job.mirror and not job.mirror.shared else None
    try:
        rescore(
            job.study.ledger,
            Rescoring(job.run, elsewhere),
            lambda run, nets: _map_nets(job, interrupt, run, nets),
            lambda line: console.print(line, markup=False),
        )
    finally:
        if not job.options.serial and not interrupt.lost:
            from search.backends import ray_tune

            ray_tune.disconnect()
    after = find_front(job.study.view).numbers
    console.print(f"Front before: trials {before}. Front now: trials {after}.", markup=False)


def _describe_battery(job: Job) -> str:
    attacks = job.scale.battery().describe_attacks()
    return f"{attacks} on {job.scale.images} validation images"


def _map_nets(
    job: Job, interrupt: Interrupt, run: Rescoring, nets: Iterable[StoredNet]
) -> Iterator[tuple[StoredNet, TrialResult | str]]:
    """Score each net again, in a worker process or on the cluster."""
    if job.options.serial:
        yield from rescore_in_worker(run, nets, interrupt)
        return
    from search.backends.ray_tasks import map_on_cluster
    from search.backends.ray_tune import Resources

    # A net is not split here: it gets what one rank of a trial has.
    ranks = count_ranks(job.options.ranks_per_trial or 0, job.scale.gpus)
    each = job.scale.cpus / ranks, job.scale.gpus / ranks
    resources = Resources(*each, job.options.concurrent)
    yield from map_on_cluster(rescore_net, run, nets, resources, interrupt)


@contextmanager
def open_backend(job: Job, interrupt: Interrupt) -> Iterator[Callable[[Study, Run], None]]:
    """Give a function that runs a study: in one worker, or on the cluster; both end afterwards."""
    timeout = job.timeout
    if job.options.serial:
        with WorkerProcess() as worker:
            yield lambda study, run: serial.search_in_worker(study, run, interrupt, worker, timeout)
        return
    from search.backends import ray_tune
    from search.session.check_cluster import needs_of_nodes

    given = job.options.gpus_per_trial, job.options.cpus_per_trial, job.options.concurrent
    resources = ray_tune.Resources(
        *(job.scale.cpus, job.scale.gpus, job.options.concurrent, find_range(job.options)),
        packed=not any(given) and not job.options.ranks_per_trial,
        ranks=count_ranks(job.options.ranks_per_trial or 0, job.scale.gpus),
        needs=needs_of_nodes(job),
    )
    stored = job.mirror.wrap if job.mirror else lambda run: run
    try:
        yield lambda study, run: ray_tune.search(study, stored(run), interrupt, resources, timeout)
    finally:
        if not interrupt.lost:
            ray_tune.disconnect()
