"""The process that forks a fresh process for each trial: it has imported all, and runs no trial.

So a trial inherits nothing from the one before: no directory, environment, thread or leaked memory.
The server only waits, and passes lines on. It therefore notices at once that the driver or the
trial is gone, and ends all that the trial has started, whatever the trial itself is stuck in.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from search.backends.messages import encode_broken, run_trial
from search.backends.process_tree import (
    adopt_orphans,
    describe_end,
    end_descendants,
    end_with_parent,
)
from search.record.work_mark import mark_running

# Sent to all processes of a job or terminal: the driver decides what follows.
FOR_THE_DRIVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
CHECK_EVERY = 0.2  # seconds between two looks at whether the trial still lives
# Seconds each, and only some trainings need them: IDBH, nets of other projects.
LATE_IMPORTS = ("torch._dynamo", "torchvision.transforms.v2")
END, YES, NO = b"end", b"y", b"n"  # END is followed by those of `LATE_IMPORTS` that were needed


def serve(descriptor: int, module: str) -> None:
    """Run the trials that the driver sends, one after the other, until the driver is gone.

    The driver sends ("run", a pickled run), ("trial", `messages.encode_trial`) and, after each
    message of the trial, ("answer", whether it goes on). It is sent ("started", "") before the
    process of the trial is there, ("report", message) for each message of the trial, and at last
    ("ended", cause): how its process has died, "" if in order.

    Args:
      descriptor: of the socket that leads to the driver.
      module: to import before the first trial.
    """
    driver = Connection(descriptor)
    adopt_orphans()
    for number in FOR_THE_DRIVER:
        signal.signal(number, lambda *_: None)  # unlike SIG_IGN not inherited by programs
    try:
        importlib.import_module(module)
        run = b""
        while True:
            kind, content = driver.recv()
            if kind == "run":
                run = content
            elif kind == "trial":  # else an answer to a trial that has died meanwhile
                with mark_running(Path(json.loads(content)["folder"])):
                    _serve_trial(driver, run, content)
    except (EOFError, ConnectionError):
        pass  # the driver is gone, or has no further trial
    except BaseException as error:
        with contextlib.suppress(OSError):
            driver.send(("report", encode_broken(error)))
    finally:
        end_descendants()


def _import_late(names: Iterable[str]) -> None:
    """Import what a trial has imported in its own process, so that the next one has it already."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _serve_trial(driver: Any, run: bytes, task: str) -> None:
    """Fork a process that runs a trial, and pass messages on until it has ended.

    Raises:
      EOFError, ConnectionError: the driver is gone.
    """
    driver.send(("started", ""))  # first: the trial may end this process at once
    answers, answer = os.pipe()
    messages, message = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads of libraries that were imported: they sleep
        pid = os.fork()
    if pid == 0:
        for descriptor in (driver.fileno(), answer, messages):
            os.close(descriptor)
        _run(run, task, answers, message)
    os.close(answers)
    os.close(message)
    try:
        late = _relay(driver, pid, messages, answer)
    finally:
        os.close(messages)
        os.close(answer)
    _import_late(late)


def _relay(driver: Any, pid: int, messages: int, answer: int) -> list[str]:
    """Pass on what a trial and the driver say to each other, until the trial has ended.

    Returns:
      Those of `LATE_IMPORTS` that the trial has imported.
    """
    lines, sources, status = b"", [driver, messages], None
    end: list[str] | None = None
    while status is None:
        ready = wait(sources, CHECK_EVERY if messages in sources else 0.01)
        if driver in ready:
            _, goes_on = driver.recv()
            with contextlib.suppress(BrokenPipeError):
                os.write(answer, YES if goes_on else NO)
        if (status := _reap(pid)) is not None:
            _end_all(pid)  # so that nobody holds the other end of the pipe
            lines += _read_rest(messages)
        elif messages in ready:
            chunk = os.read(messages, 1 << 16)
            sources = sources if chunk else [driver]
            lines += chunk
        *whole, lines = lines.split(b"\n")
        for line in whole:
            if line.startswith(END):
                end = line.decode().split()[1:]
            else:
                driver.send(("report", line.decode()))
    cause = describe_end(os.waitstatus_to_exitcode(status)) if end is None else ""
    driver.send(("ended", cause))
    return end or []


def _reap(pid: int) -> int | None:
    """Return the wait status of a process if it has ended; orphans that have ended are cleared."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            status = found[1] if found[0] == pid else status
    return status


def _end_all(group: int) -> None:
    end_descendants()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)  # where there is no /proc


def _read_rest(descriptor: int) -> bytes:
    """Return what is left in a pipe."""
    os.set_blocking(descriptor, False)
    rest = b""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, 1 << 16):
            rest += chunk
    return rest


def _run(run: bytes, task: str, answers: int, message: int) -> NoReturn:
    """Run a trial in the process that was forked for it, and end the process."""
    try:
        os.setpgid(0, 0)
        end_with_parent()
        with contextlib.closing(run_trial(pickle.loads(run), task)) as lines:
            for line in lines:
                _write(message, line.encode() + b"\n")
                if os.read(answers, 1) != YES:
                    break
        late = [name.encode() for name in LATE_IMPORTS if name in sys.modules]
        _write(message, b" ".join([END, *late]) + b"\n")
    except BaseException as error:  # the run cannot be unpickled here, or the pipe is gone
        with contextlib.suppress(OSError):
            _write(message, encode_broken(error).encode() + b"\n")
    finally:
        os._exit(0)  # whatever threads the trial has left behind


def _write(descriptor: int, content: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as pipe:
        pipe.write(content)
