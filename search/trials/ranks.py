"""One trial on several ranks: its worker is the first, and starts each other one.

All ranks run the whole trial side by side (`adv.runtime.ranks`); only the first reads and writes
files and reports. The other ranks are processes beside the worker, unless the backend has said
otherwise (`rank_task.started_by`).
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing

from adv.runtime.ranks import LostRankError, Ranks, join_ranks
from search.errors import describe_error
from search.record.trial import EpochReport
from search.trials.rank_task import (
    PATIENCE,
    Cause,
    OtherRanks,
    RankTask,
    SplitRun,
    Starter,
    find_starter,
)


def run_on_ranks(
    run: SplitRun,
    count: int,
    params: Mapping[str, Any],
    seed: int,
    folder: Path,
    start: Starter | None = None,
) -> Iterator[EpochReport]:
    """Run a trial on this process and on `count - 1` others, which end with it.

    If another rank is killed, this process kills itself: the trial has lost its worker.

    Args:
      run: that trains the trial.
      count: number of ranks, 2 or more.
      params: of the trial.
      seed: of the trial.
      folder: of the trial.
      start: starts the others; None: what the backend has named.

    Raises:
      torch.OutOfMemoryError: one of the ranks has run out of memory.
      RuntimeError: another rank has failed; the message says why.
    """
    start = start or find_starter(start_processes)
    with start(run, RankTask(params, seed, folder, count)) as others:
        try:
            with join_ranks(0, count, meet=others.meet) as ranks:
                yield from _lead(run.on_ranks(ranks)(params, seed, folder), ranks)
        except LostRankError as error:
            cause = others.find_cause()
            if cause is None:
                raise
            if not cause.reason:
                os.kill(os.getpid(), signal.SIGKILL)
            kind = torch.OutOfMemoryError if cause.out_of_memory else RuntimeError
            raise kind(cause.reason) from error


def _lead(reports: Iterator[EpochReport], ranks: Ranks) -> Iterator[EpochReport]:
    """Yield reports, and tell the other ranks after each whether the trial goes on."""
    for report in reports:
        try:
            yield report
        except GeneratorExit:
            ranks.agree(False)
            raise
        ranks.agree(True)


def follow(run: SplitRun, task: RankTask, rank: int, meet: str) -> Cause | None:
    """Be another rank of a trial until it ends; return why this rank has failed, if it has.

    Args:
      run: that trains the trial.
      task: the trial.
      rank: of this process, 1 or more.
      meet: where the ranks find each other.
    """
    try:
        with join_ranks(rank, task.count, meet=meet) as ranks:
            for _ in run.on_ranks(ranks)(task.params, task.seed, task.folder):
                if not ranks.agree():
                    break
    except LostRankError:  # the first one knows why
        pass
    except BaseException as error:
        reason = f"rank {rank}: {describe_error(error)}"
        return Cause(reason, isinstance(error, torch.OutOfMemoryError))
    return None


class _Processes:
    """The other ranks as processes of this machine."""

    def __init__(self, run: SplitRun, task: RankTask, meet: str) -> None:
        self.meet = meet
        # Not fork: a process that has used a GPU, or threads, cannot be copied.
        context = torch.multiprocessing.get_context("spawn")
        self._causes, told = context.Pipe(duplex=False)
        self._processes = [
            context.Process(target=_follow_in_process, args=(told, run, task, rank, meet))
            for rank in range(1, task.count)
        ]
        for process in self._processes:
            process.daemon = True
            process.start()
        told.close()

    def find_cause(self) -> Cause | None:
        ended = [process.sentinel for process in self._processes]
        ready = multiprocessing.connection.wait([self._causes, *ended], PATIENCE)
        if self._causes in ready:
            with suppress(EOFError):
                return Cause(*self._causes.recv())
        statuses = [process.exitcode or 0 for process in self._processes]
        if any(status < 0 for status in statuses):
            return Cause()
        failed = [rank for rank, status in enumerate(statuses, 1) if status > 0]
        return Cause(f"rank {failed[0]} has ended at its start") if failed else None

    def end(self) -> None:
        """Kill those that still run."""
        for process in self._processes:
            process.kill()
            process.join()
        self._causes.close()


@contextmanager
def start_processes(run: SplitRun, task: RankTask) -> Iterator[OtherRanks]:
    """Start the other ranks of a trial as processes on this machine."""
    with tempfile.TemporaryDirectory(prefix="ranks-") as meeting:
        others = _Processes(run, task, f"file://{meeting}/meet")
        try:
            yield others
        finally:
            others.end()


def _follow_in_process(told: Any, run: SplitRun, task: RankTask, rank: int, meet: str) -> None:
    """Be another rank of a trial: the main function of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first rank is told
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if (cause := follow(run, task, rank, meet)) is not None:
        told.send(tuple(cause))


def _end_with_parent() -> None:
    """End this process, whatever it waits for, when the first rank dies."""
    parent = torch.multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
