"""Run `launch.py` in a process that is forked from one which has imported everything already.

Importing takes most of the time of a short command. Each call gets a process, a session, an
environment and a working directory of its own, as from a shell.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = ("launch", "search.session.session", "search.backends.serial", "search.session.prepare")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*IMPORTED])


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
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        argv = [str(program), *arguments]
        process = _context.Process(target=_run, args=(argv, str(cwd), dict(environment), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, timeout, out.read_bytes(), err.read_bytes())
        texts = (path.read_text() if path.exists() else "" for path in (out, err))
        return subprocess.CompletedProcess(argv, process.exitcode, *texts)


def _run(argv: list[str], cwd: str, environment: dict[str, str], out: Path, err: Path) -> None:
    os.setsid()
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    tempfile.tempdir = None
    sys.argv = argv
    import launch

    launch.run()
