"""Start trials in a process of their own on this machine, and end it.

The driver starts one server (`trial_server`), in a session of its own, so that a Ctrl-C in the
terminal reaches the driver alone. What trials print is dropped, as it is on Ray.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, Self

from adv.keys import find_keys
from search.backends.messages import WorkerError
from search.backends.process_tree import describe_end
from search.record.trial import Run

PATIENCE = 15.0  # seconds that the server may take to end all that a trial has started
_CODE = """
import os, sys
descriptor, module, *sys.path = sys.argv[1:]
from search.backends.trial_server import serve
serve(int(descriptor), module)
os._exit(0)  # a second sooner than by taking down what was imported
"""


class WorkerProcess:
    """A process that runs trials one after the other, and is started again when it was ended.

    Use it in a `with` block; at its end everything has ended that trials have started.
    """

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._driver: Connection[Any, Any] | None = None
        self._run: Run | None = None  # that the server has
        self._began = False  # whether the server has been about to start a trial

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def start(self, run: Run, task: str) -> None:
        """Start a trial.

        Args:
          run: that trains it; it is sent once.
          task: see `messages.encode_trial`.

        Raises:
          WorkerError: the run cannot be pickled.
        """
        if self._driver is None:
            self._start_server(run)
        assert self._driver is not None
        with contextlib.suppress(OSError):  # `receive` says so
            if self._run is not run:
                self._driver.send(("run", _pickle(run)))
                self._run = run
            self._driver.send(("trial", task))

    def _start_server(self, run: Run) -> None:
        driver, other = Pipe()
        keys = find_keys(os.environ)  # only the driver needs them
        module = getattr(run, "__module__", type(run).__module__)
        arguments = [str(other.fileno()), module, *filter(None, sys.path)]
        self._server = subprocess.Popen(
            [sys.executable, "-c", _CODE, *arguments],
            pass_fds=[other.fileno()],
            env={name: value for name, value in os.environ.items() if name not in keys},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        other.close()
        self._driver, self._began = driver, False

    def receive(self, seconds: float) -> tuple[str, str] | None:
        """Return what the server has sent: see `trial_server.serve`; None if there is nothing yet.

        Args:
          seconds: to wait at most.

        Raises:
          WorkerError: the server has ended before it could start any trial.
        """
        assert self._driver is not None and self._server is not None
        try:
            if not self._driver.poll(seconds):
                return None
            kind, text = self._driver.recv()
        except (EOFError, OSError):
            code = self._server.wait()
            self.end()
            if not self._began:
                raise WorkerError(
                    f"a worker process ended at its start, with status {code}"
                ) from None
            end = describe_end(code)
            return "ended", f"the process that starts trials was killed with it: {end}"
        self._began = True
        return None if kind == "started" else (kind, text)

    def answer(self, goes_on: bool) -> None:
        """Say after a message of the trial whether it goes on."""
        assert self._driver is not None
        with contextlib.suppress(OSError):  # `receive` says so
            self._driver.send(("answer", goes_on))

    def end(self) -> None:
        """End the trial, if one runs, and the server."""
        server, driver = self._server, self._driver
        self._server = self._driver = self._run = None
        if server is None or driver is None:
            return
        driver.close()  # the server then ends all that is below it, and itself
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()  # the kernel then ends the trial
            server.wait()


def _pickle(run: Run) -> bytes:
    try:
        return pickle.dumps(run)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise WorkerError(f"the run cannot be sent to a worker process: {error}") from None
