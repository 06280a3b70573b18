"""Run a script in a process that is forked from one which has imported everything already.

Importing takes most of the time of a short command, and much of the start of a search on Ray. Each
script gets a process, a session, an environment and a working directory of its own, as from a
shell. Variables that are read when a module is imported, as OMP_NUM_THREADS is, are those of the
tests.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

IMPORTED = (
    *("launch", "search.session.session", "search.backends.serial", "search.session.prepare"),
    *("search.backends.trial_server", "search.trials.train_trial", "sklearn.datasets"),
    *("torch._dynamo", "torchvision.transforms.v2"),
    *("search.backends.ray_tune", "search.samplers.optuna_samplers", "formula_runs"),
    "ranks_program",
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*IMPORTED])  # there is one such server, for all that is forked


class WarmProcess:
    """A running script, with what tests ask of a `subprocess.Popen`.

    Args:
      program: the path of the script.
      arguments: of the command line.
      cwd: the working directory.
      environment: all variables.
      output: a file for what it prints to stdout and stderr; None: both are kept apart.
    """

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str],
        cwd: Path | str,
        environment: Mapping[str, str],
        output: Path | None = None,
    ) -> None:
        self.args = [str(program), *arguments]
        self._said: tuple[str, str] | None = None  # once it has ended
        self._folder = tempfile.TemporaryDirectory()
        self._texts = [output or Path(self._folder.name, name) for name in ("out", "err")]
        self._process = _context.Process(
            target=_run, args=(self.args, str(cwd), dict(environment), *self._texts)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid  # also of its session and process group

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
          subprocess.TimeoutExpired: it takes longer.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        if self._said is None:
            self._said = self.read()
            self._folder.cleanup()
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it has printed to stdout and stderr."""
        self.wait(timeout)
        return self.read()

    def read(self) -> tuple[str, str]:
        """Return what it has printed to stdout and stderr so far."""
        if self._said is not None:
            return self._said
        out, err = (path.read_text() if path.exists() else "" for path in self._texts)
        return out, err

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        self._process.kill()


def run_warm(
    program: Path,
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Return the status and the output of `launch.py`, as `subprocess.run` does.

    Args:
      program: the path of `launch.py`.
      arguments: of the command line.
      cwd: the working directory.
      environment: all variables.
      timeout: seconds after which it is killed.

    Raises:
      subprocess.TimeoutExpired: it took longer.
    """
    process = WarmProcess(program, arguments, cwd, environment)
    try:
        texts = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(process.args, process.wait(), *texts)


def _run(argv: list[str], cwd: str, environment: dict[str, str], out: Path, err: Path) -> None:
    from search.backends.ray_imports import SETTINGS
    from search.backends.worker_process import WorkerProcess

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if pytest ignores it
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update({**SETTINGS, **environment})  # as the import of Ray does
    os.chdir(cwd)
    tempfile.tempdir = None
    sys.argv = argv
    sys.path.insert(0, os.path.dirname(argv[0]))
    WorkerProcess._start_server = _fork_server  # type: ignore[method-assign,assignment]
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()


class _Server:
    """The server of trials, a forked child, with what `WorkerProcess` asks of a `Popen`."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("the server of trials", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _fork_server(worker: Any, run: Any) -> None:
    """Start the server of trials as `WorkerProcess` does, but by a fork, with all imported."""
    driver, other = Pipe()
    module = getattr(run, "__module__", type(run).__module__)
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(other, module))
    server.start()
    other.close()
    worker._server, worker._driver, worker._began = _Server(server), driver, False


def _serve(other: Any, module: str) -> None:
    from adv.keys import find_keys
    from search.backends.trial_server import serve

    os.setsid()
    kept = other.fileno()  # nothing else: neither the lock of the ledger nor the driver's end
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    for name in find_keys(os.environ):
        del os.environ[name]
    serve(kept, module)
