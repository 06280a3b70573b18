"""Start drivers and clusters in processes of their own, and say what drivers have to leave."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from formula_runs import trained_epochs
from waiting import wait_until
from warm_process import WarmProcess

from search.interrupt import NOTICE
from search.record.ledger import read

HERE = Path(__file__).parent


def start(folder: Path, **settings: Any) -> WarmProcess:
    """Start a driver, see `ray_driver`."""
    environment = {**os.environ, "HOME": "/nonexistent"}  # as in many a container
    words = [str(folder), json.dumps(settings)]
    return WarmProcess(HERE / "ray_driver.py", words, "/", environment)


def start_gated(folder: Path, **settings: Any) -> WarmProcess:
    """Start a driver whose first two trials stand before a gate after their first epoch."""
    pids = [folder / "trials" / f"{number:04}" / "pid" for number in (0, 1)]
    for pid in pids:
        pid.unlink(missing_ok=True)
    resumed = count_epochs(folder) > 0
    driver = start(folder, gate=True, **settings)
    wait_until(lambda: count_epochs(folder) == 2, seconds=240)
    wait_until(lambda: not resumed or all(pid.exists() for pid in pids), seconds=240)
    return driver


def open_gate(folder: Path) -> None:
    """Let the trials go on that stand before the gate."""
    (folder / "gate").touch()


def assert_ends(process: WarmProcess, code: int = 0, seconds: float = 90.0) -> None:
    """Assert that the process ends with that status and prints at most the note on a signal."""
    output = "".join(process.communicate(timeout=seconds))
    assert (process.returncode, output) == (code, NOTICE if code > 128 else "")


def count_epochs(folder: Path) -> int:
    """Return how many epochs were trained, over all trials."""
    return sum(len(trained_epochs(trial)) for trial in folder.glob("trials/*"))


def wait_for_epochs(folder: Path, number: int) -> None:
    """Wait until so many epochs were trained, over all trials."""
    wait_until(lambda: count_epochs(folder) >= number)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the ledger."""
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def assert_each_once(folder: Path, trials: int, epochs: int) -> None:
    """Assert that every trial finished once and trained each epoch once, in order."""
    events = read_events(folder)
    for kind in ("proposed", "finished"):
        assert sorted(e["trial"] for e in events if e["event"] == kind) == list(range(trials))
    for trial in sorted(folder.glob("trials/*")):
        assert trained_epochs(trial) == list(range(1, epochs + 1))
    view = read(folder / "ledger.jsonl")
    assert all(sorted(t.epochs) == list(range(1, epochs + 1)) for t in view.trials.values())
    assert not view.in_state("running")


def assert_lost(folder: Path, driver: WarmProcess, reason: str) -> None:
    """Assert that the driver ends in order, says why, prints nothing, and leaves trials running."""
    output = "".join(driver.communicate(timeout=120))
    said = [line for line in output.splitlines() if "core_worker.cc" not in line]  # of Ray itself
    assert (driver.returncode, said) == (1, [])
    assert reason in (folder / "reason").read_text()
    last = read_events(folder)[-1]
    assert (last["event"], last["code"]) == ("end", 1)
    assert [t.number for t in read(folder / "ledger.jsonl").in_state("running")] == [0, 1]


def signal_child(parent: int, name: str, number: int) -> None:
    """Send a signal to the child of a process that runs a program of this name."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    [found] = [int(row[0]) for row in rows if Path(row[1]).name == name]
    os.kill(found, number)


class Nodes:
    """A cluster of two nodes in a process of its own, see `two_node_cluster`.

    Attributes:
      process: starts the nodes.
      address: of the cluster.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "two_node_cluster.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._hear("ADDRESS (.*)")

    def add(self) -> None:
        """Add a node."""
        self._say("add", "ADDED")

    def remove(self) -> None:
        """Remove the oldest node but the head."""
        self._say("remove", "REMOVED")

    def _say(self, word: str, answer: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self._hear(answer)

    def _hear(self, pattern: str) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if found := re.match(pattern, line):
                return found[found.re.groups]
        raise AssertionError("the cluster has ended")


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """Give a cluster of two nodes."""
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.process.communicate(timeout=30)
