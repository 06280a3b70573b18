"""A laboratory: starts `launch.py`, watches its ledger, and ends all that it has started."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LIMIT = 600.0  # seconds that a search may take before it counts as hanging
POLL = 0.01
TAG = "ROBUSTUNE_FAULT_LAB"  # an environment variable by which what was started is found again
NAME = "x"
SERIAL, RAY = ("--serial",), ("--concurrent", "2")
SMALL = ("--space", "smoke", "--trials", "3", "--epochs", "3", "--finalists", "off")


class StuckError(Exception):
    """A search did not do in time what was expected; the message says what."""


@dataclass
class Launch:
    """A running or ended `launch.py`.

    Args:
      process: of the driver.
      output: file that takes its stdout and stderr.
      began: when it was started, in monotonic seconds.
    """

    process: subprocess.Popen[bytes]
    output: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """The text that it has printed so far."""
        return self.output.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """True until it ends."""
        return self.process.poll() is None

    def wait(self, limit: float = LIMIT) -> int:
        """Wait for its end, and return its exit status; that of a signal is negative.

        Raises:
          StuckError: it has not ended in time; it is killed.
        """
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise StuckError(f"did not end within {limit:.0f} s") from None

    def kill(self) -> None:
        """Kill the driver by SIGKILL, as the kernel does when memory runs out."""
        self.process.kill()
        self.process.wait()


class Lab:
    """Starts searches in folders of their own; use it as a context, which ends all of them.

    Args:
      folder: that takes them.
      away: seconds for which a storage is taken away.
      program: folder of the `launch.py` that is tested.
      workshop: folder for copies of the program, which several laboratories may share; None: each
        has its own.
    """

    def __init__(
        self,
        folder: Path,
        away: float = 60.0,
        program: Path = PROJECT,
        workshop: Path | None = None,
    ) -> None:
        self.folder, self.away, self.program = folder, away, program
        self.workshop = workshop or folder
        self.id = secrets.token_hex(8)
        self.started: list[Launch] = []
        self.at_end: list[Callable[[], object]] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Kill all that was started, also what has left its driver, and undo the mounts."""
        while found := self.find_processes():
            for process in found:
                kill(process)
            time.sleep(POLL)
        while self.at_end:
            self.at_end.pop()()

    def open_home(self, name: str) -> Path:
        """Return a new, empty folder in which `runs/` will lie."""
        home = self.folder / f"{name}-{secrets.token_hex(3)}"
        home.mkdir(parents=True)
        return home

    def start(
        self,
        home: Path,
        *flags: str,
        variables: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
        stdout: int | None = None,
    ) -> Launch:
        """Start `launch.py` in `home`.

        Args:
          home: its working directory.
          flags: of the search; W&B is off unless they say otherwise.
          variables: of its environment.
          command: takes the place of `launch.py`.
          stdout: a file descriptor for its output.
        """
        output = home / f"output-{len([*home.glob('output-*')])}"
        base = command or (str(self.program / "launch.py"),)
        environment = self.make_environment(variables or {})
        process = self.open_process([*base, *flags], home, environment, output, stdout)
        self.started.append(Launch(process, output))
        return self.started[-1]

    def open_process(
        self,
        words: Sequence[str],
        home: Path,
        environment: Mapping[str, str],
        output: Path,
        stdout: int | None,
    ) -> subprocess.Popen[bytes]:
        """Start Python in a session of its own.

        Args:
          words: its arguments.
          home: its working directory.
          environment: all its variables.
          output: file for what it prints.
          stdout: a file descriptor that takes its stdout instead.
        """
        with output.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file if stdout is None else stdout,
                stderr=file,
                start_new_session=True,
            )

    def make_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a search: without the user's settings of Ray and W&B."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "WANDB_"))}
        before = [variables["PYTHONPATH"]] if "PYTHONPATH" in variables else []
        path = os.pathsep.join([*before, str(self.program)])
        own = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", TAG: self.id}
        return {**plain, **own, **variables, "PYTHONPATH": path}

    def begin(self, home: Path, *flags: str, variables: Mapping[str, str] | None = None) -> Launch:
        """Start a new small search called x."""
        return self.start(home, *SMALL, "--name", NAME, *flags, variables=variables)

    def resume(self, home: Path, *flags: str, variables: Mapping[str, str] | None = None) -> Launch:
        """Resume that search, and wait for its end."""
        launch = self.start(home, "--resume", f"runs/{NAME}", *flags, variables=variables)
        launch.wait()
        return launch

    def find_processes(self, *words: str) -> list[int]:
        """Return the processes that were started here, directly or not, whose command has a word.

        Without words all are returned.
        """
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"{TAG}={self.id}".encode() in (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("latin-1")
            except OSError:  # it has ended, or is another user's
                continue
            if mine and command and (not words or any(word in command for word in words)):
                found.append(int(folder.name))
        return found


def kill(process: int) -> None:
    """Kill a process by SIGKILL, if it still runs."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def parent_of(process: int) -> int:
    """Return the parent of a process; 0 if the process has ended."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])  # its name, in brackets, may hold anything


def ledger_of(home: Path) -> Path:
    """Return the ledger of the search in a home."""
    return home / "runs" / NAME / "ledger.jsonl"


def ledger_text(home: Path) -> str:
    """Return the text of that ledger, "" if there is none."""
    try:
        return ledger_of(home).read_text()
    except OSError:
        return ""


def wait_for(
    condition: Callable[[], object], what: str, launch: Launch | None = None, limit: float = LIMIT
) -> None:
    """Wait until a condition holds.

    Args:
      condition: is asked again and again.
      what: it means, in words.
      launch: that shall still run while one waits.
      limit: in seconds.

    Raises:
      StuckError: it did not come to be.
    """
    end = time.monotonic() + limit
    while not condition():
        if launch is not None and not launch.running:
            raise StuckError(f"ended before {what}: {launch.text.strip()[-300:]}")
        if time.monotonic() > end:
            raise StuckError(f"waited {limit:.0f} s for {what}")
        time.sleep(POLL)


def wait_for_event(home: Path, event: str, launch: Launch, count: int = 1) -> None:
    """Wait until a ledger has `count` events of a kind."""
    key = f'"event": "{event}"'
    wait_for(lambda: ledger_text(home).count(key) >= count, f"event {event}", launch)


def add_space(lab: Lab, space: Path, name: str) -> Path:
    """Return a copy of the program to which a space was added, as a stranger would add it.

    Args:
      lab: whose workshop holds it, once for each name.
      space: its file.
      name: that it gets.
    """
    program = lab.workshop / f"program-{name}"
    if not program.exists():
        for part in ("adv", "search", "spaces"):  # what is compiled stays valid in a copy
            shutil.copytree(PROJECT / part, program / part)
        shutil.copy(PROJECT / "launch.py", program)
        shutil.copy(space, program / "spaces" / f"{name}.py")
    return program
