"""One trial on several ranks: its worker is the first, and starts a process for each other one.

All ranks run the whole trial side by side (`adv.runtime.ranks`); only the first writes files and
reports. The worker has asked for all GPUs of the trial, so the ranks are on its node.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.multiprocessing

from adv.runtime.ranks import Ranks, join_ranks
from search.errors import describe_error
from search.record.trial import EpochReport, Run
from spaces import Params

PATIENCE = 10.0  # seconds that a rank which fails may take to say why


class SplitRun(Protocol):
    """A run whose trials several ranks can train together."""

    def on_ranks(self, team: Ranks) -> Run:
        """Return the run as one of the ranks has to call it."""


def run_on_ranks(
    run: SplitRun, count: int, params: Params, seed: int, folder: Path
) -> Iterator[EpochReport]:
    """Run a trial on this process and on `count - 1` others, which end with it.

    Args:
      run: that trains the trial.
      count: number of ranks, 2 or more.
      params: of the trial.
      seed: of the trial.
      folder: of the trial.

    Raises:
      torch.OutOfMemoryError: one of the ranks has run out of memory.
      RuntimeError: another rank has failed; the message says why.
    """
    # Not fork: a process that has used a GPU, or threads, cannot be copied.
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="ranks-") as meeting:
        meet = f"file://{meeting}/meet"
        mine, theirs = context.Pipe(duplex=False)
        task = (run, params, seed, folder, count, meet, theirs)
        others = [
            context.Process(target=_follow, args=(rank, *task), daemon=True)
            for rank in range(1, count)
        ]
        for other in others:
            other.start()
        theirs.close()
        try:
            with join_ranks(0, count, meet=meet) as ranks:
                yield from _lead(run.on_ranks(ranks)(params, seed, folder), ranks)
        except Exception as error:
            _raise_cause(others, mine, error)
            raise
        finally:
            for other in others:
                other.kill()
                other.join()
            mine.close()


def _lead(reports: Iterator[EpochReport], ranks: Ranks) -> Iterator[EpochReport]:
    """Yield reports, and tell the other ranks after each whether the trial goes on."""
    for report in reports:
        try:
            yield report
        except GeneratorExit:
            ranks.agree(False)
            raise
        ranks.agree(True)


def _follow(  # noqa: PLR0913, PLR0917 - the arguments of a process
    rank: int,
    run: SplitRun,
    params: Params,
    seed: int,
    folder: Path,
    count: int,
    meet: str,
    errors: Any,
) -> None:
    """Be another rank of a trial: the main function of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first rank is told
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with join_ranks(rank, count, meet=meet) as ranks:
            for _ in run.on_ranks(ranks)(params, seed, folder):
                if not ranks.agree():
                    return
    except BaseException as error:
        errors.send((rank, isinstance(error, torch.OutOfMemoryError), describe_error(error)))
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End this process, whatever it waits for, when the first rank dies."""
    parent = torch.multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _raise_cause(others: list[Any], errors: Any, error: Exception) -> None:
    """Raise why another rank has ended, if that is what ended this one.

    If it was killed, this process kills itself: the trial has lost its worker.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return
    ready = multiprocessing.connection.wait([errors, *(o.sentinel for o in others)], PATIENCE)
    if errors in ready:
        with suppress(EOFError):
            rank, out_of_memory, reason = errors.recv()
            kind = torch.OutOfMemoryError if out_of_memory else RuntimeError
            if reason != describe_error(error):  # else all ranks have met the same
                raise kind(f"rank {rank}: {reason}") from error
    for other in others:
        if other.exitcode is not None and other.exitcode < 0:
            os.kill(os.getpid(), signal.SIGKILL)
