"""The messages between the driver and a worker process, each one line of JSON.

They are the same whether Ray or the driver itself has started the worker; nothing here imports Ray.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from search.errors import StorageError, describe_error, find_storage_error
from search.record.trial import EpochReport, Run, Trial
from search.trials.gpu_share import limit_memory


class WorkerError(ValueError):
    """Worker processes that cannot run any trial; the message is one line."""


class UnfitNodeError(Exception):
    """A node on which no trial can run; the message is one line.

    Args:
      reason: which node, and what it lacks.
      node: its id.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason, node)
        self.reason, self.node = reason, node


class OutOfMemory(str):
    """Why a trial has failed: it ran out of memory on a GPU, or torch did on a CPU."""

    __slots__ = ()


def encode_trial(trial: Trial, folder: Path, share: float = 0.0) -> str:
    """Return what a worker needs to run a trial.

    Args:
      trial: to run.
      folder: in which it keeps its state.
      share: of a GPU; 0: no limit is set.
    """
    content = {"params": dict(trial.params), "seed": trial.seed, "folder": str(folder)}
    return json.dumps({**content, "share": share} if share else content)


def run_trial(run: Run, task: str) -> Generator[str, None, None]:
    """Run a trial in a worker; yield a message for each report, or one that says why it failed.

    Whatever the trial raises becomes a message, `SystemExit` and `KeyboardInterrupt` too: they are
    meant to end a program, and a trial is none. A process that the trial has forked ends here.

    Args:
      run: that trains the trial.
      task: see `encode_trial`.
    """
    content = json.loads(task)
    folder, worker = Path(content["folder"]), os.getpid()
    limit_memory(content.get("share", 0.0))
    reports = _iterate(run, content, folder)
    goes_on = True
    while goes_on:
        message, goes_on = _encode_next(reports, folder)
        if os.getpid() != worker:
            os._exit(1)
        if message:
            yield message


def _iterate(run: Run, content: Mapping[str, Any], folder: Path) -> Iterator[EpochReport]:
    yield from run(content["params"], content["seed"], folder)


def _encode_next(reports: Iterator[EpochReport], folder: Path) -> tuple[str, bool]:
    """Return the next message, "" at the end, and whether another may follow."""
    try:
        report = next(reports)
        return json.dumps({"values": report.to_json()}, default=str), not report.nonfinite
    except StopIteration:
        return "", False
    except UnfitNodeError as error:
        return encode_unfit(error), False
    except BaseException as error:  # a trial may raise anything
        if (storage := find_storage_error(error, folder)) is not None:
            content = {"storage": str(storage), "node": socket.gethostname()}
        else:
            content = {"failed": describe_error(error)}
            if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
                content["memory"] = "out"
        return json.dumps(content), False


def encode_broken(error: BaseException) -> str:
    """Return the message of a worker that can run no trial, because of an exception."""
    return json.dumps({"broken": describe_error(error)})


def encode_unfit(error: UnfitNodeError) -> str:
    """Return the message of a worker whose node can run no trial."""
    return json.dumps({"unfit": error.reason, "node": error.node})


def decode(message: str) -> EpochReport | str:
    """Return the report that a trial has sent, or why it failed.

    Raises:
      StorageError: a disk or mount has failed under the trial; if it may be one that only another
        node has, the message names the node.
      WorkerError: the worker can run no trial.
      UnfitNodeError: its node can run none.
    """
    content = json.loads(message)
    if "broken" in content:
        raise WorkerError(f"a worker process cannot run trials: {content['broken']}")
    if "unfit" in content:
        raise UnfitNodeError(content["unfit"], content["node"])
    if "storage" in content:
        elsewhere = content["node"] != socket.gethostname()
        raise StorageError(content["storage"] + f", on node {content['node']}" * elsewhere)
    if "failed" in content:
        return (OutOfMemory if "memory" in content else str)(content["failed"])
    try:
        report = EpochReport.from_json(content["values"])
        _ = report.nonfinite  # which needs numbers
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"it sent an invalid report: {describe_error(error)}"
    return report
