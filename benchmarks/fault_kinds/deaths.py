"""Processes that die, signals, and readers that go away."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace

from fault_kinds.lab import (
    LIMIT,
    NAME,
    RAY,
    SERIAL,
    SMALL,
    Lab,
    Launch,
    kill,
    parent_of,
    wait_for,
    wait_for_event,
)
from fault_kinds.verdict import Case, Kind, Outcome, find_twin

KILLED = -signal.SIGKILL.value
KILLS = 20
DEATH_LIMIT = 60.0  # seconds in which a search has to end after its cluster has died


def open_case(lab: Lab, name: str) -> Case:
    """Return the case of a small search beside its twin."""
    return Case(lab, lab.open_home(name), find_twin(lab))


@dataclass(frozen=True)
class KillDriver:
    """Kills the driver again and again at random moments, and resumes it.

    The first kill comes soon after the `session` event, each other one up to twice as long after
    its start as the first start took to that event.

    Args:
      way: flags that say how trials run.
      kills: how often, in one search.
    """

    way: tuple[str, ...]
    kills: int

    def __call__(self, lab: Lab) -> Outcome:
        """Kill the driver `kills` times, then let it finish."""
        case, chance = open_case(lab, "kill-driver"), random.Random(0)
        launch = lab.begin(case.home, *self.way)
        wait_for_event(case.home, "session", launch)
        case.start_clock()
        longest = 2 * (case.since - launch.began)
        for n in range(self.kills):
            if _ends_within(launch, chance.uniform(0.0, longest if n else longest / 16)):
                case.demand(2 * n >= self.kills, f"it was killed {n} times only")
                break
            launch.kill()
            case.expect(launch, KILLED)
            launch = lab.start(case.home, "--resume", "runs/x", *self.way)
        launch.wait()
        case.expect(launch, 0)
        return case.judge()


def _ends_within(launch: Launch, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while launch.running and time.monotonic() < end:
        time.sleep(0.01)
    return not launch.running


@dataclass(frozen=True)
class KillProcess:
    """Kills a process beside the driver while a trial trains.

    Args:
      words: that the command of the process holds, one of them.
      way: flags that say how trials run.
      statuses: of the driver that are right; if it does not end with 0 it is resumed.
      leaf: whether only those are killed whose parent is one of them too, as a process that was
        forked for a trial is.
    """

    words: tuple[str, ...]
    way: tuple[str, ...]
    statuses: tuple[int, ...]
    leaf: bool = False

    def __call__(self, lab: Lab) -> Outcome:
        """Kill the process after the first epoch of the search."""
        case = open_case(lab, "kill-process")
        launch = lab.begin(case.home, *self.way)
        wait_for_event(case.home, "epoch", launch)
        found = [pid for pid in lab.find_processes(*self.words) if pid != launch.process.pid]
        victims = [pid for pid in found if parent_of(pid) in found] if self.leaf else found
        case.demand(victims, f"no process to kill: {' or '.join(self.words)}")
        case.start_clock()
        for pid in victims:
            kill(pid)
        case.expect(launch, *self.statuses)
        if launch.wait(LIMIT if 0 in self.statuses else DEATH_LIMIT):
            case.expect(lab.resume(case.home, *self.way), 0)
        return case.judge()


def kill_head(lab: Lab) -> Outcome:
    """Kill the head node of a cluster that was joined, and resume on a new one."""
    case = open_case(lab, "kill-head")
    address = _start_cluster(lab)
    way = ("--address", address, "--concurrent", "2")
    launch = lab.begin(case.home, *way)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    for pid in lab.find_processes():
        if pid != launch.process.pid:
            kill(pid)
    launch.wait(DEATH_LIMIT)
    case.expect(launch, 1)
    again = ("--address", _start_cluster(lab), "--concurrent", "2")
    case.expect(lab.resume(case.home, *again), 0)
    return case.judge()


def _start_cluster(lab: Lab) -> str:
    """Start a cluster of one node, and return its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    starter = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    flags = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    subprocess.run(
        [*starter, "--node-ip-address=127.0.0.1", *flags],
        env=lab.make_environment({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}),
        capture_output=True,
        check=True,
        timeout=LIMIT,
    )
    return f"127.0.0.1:{port}"


@dataclass(frozen=True)
class StopProcess:
    """Stops a process of the cluster by SIGSTOP, so that it hangs, and resumes on a new one.

    Args:
      word: that the command of the process holds.
      limit: seconds in which the search has to end.
    """

    word: str
    limit: float

    def __call__(self, lab: Lab) -> Outcome:
        """Stop it after the first epoch of the search."""
        case = open_case(lab, "stop")
        launch = lab.begin(case.home, *RAY)
        wait_for_event(case.home, "epoch", launch)
        case.start_clock()
        for pid in lab.find_processes(self.word):
            if pid != launch.process.pid:
                os.kill(pid, signal.SIGSTOP)
        launch.wait(self.limit)
        case.expect(launch, 1)
        case.expect(lab.resume(case.home, *RAY), 0)
        return case.judge()


@dataclass(frozen=True)
class SendSignal:
    """Sends a signal to the driver while a trial trains, and resumes the search."""

    number: signal.Signals
    status: int
    way: tuple[str, ...] = SERIAL

    def __call__(self, lab: Lab) -> Outcome:
        """Send it after the first epoch."""
        case = open_case(lab, self.number.name)
        launch = lab.begin(case.home, *self.way)
        wait_for_event(case.home, "epoch", launch)
        case.start_clock()
        launch.process.send_signal(self.number)
        launch.wait(DEATH_LIMIT)
        case.expect(launch, self.status)
        case.demand("--resume runs/x" in launch.text, "no resume command")
        case.expect(lab.resume(case.home, *self.way), 0)
        return case.judge()


def close_output(lab: Lab) -> Outcome:
    """Stop reading the output, as `| head` does, and resume the search."""
    case = open_case(lab, "close-output")
    reader, writer = os.pipe()
    try:
        launch = lab.start(case.home, *SMALL, "--name", NAME, *SERIAL, stdout=writer)
        os.close(writer)
        wait_for(lambda: b"\n" in os.read(reader, 4096), "a first line", launch)
    finally:
        os.close(reader)
    case.start_clock()
    launch.wait()
    case.expect(launch, 128 + signal.SIGPIPE)
    case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


def run_two_drivers(lab: Lab) -> Outcome:
    """Resume a run that another driver is running."""
    case = open_case(lab, "two-drivers")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    second = lab.resume(case.home, *SERIAL)
    case.expect(second, 2)
    case.demand("in use" in second.text, "the second driver does not say why it refuses")
    launch.wait()
    case.expect(launch, 0)
    return case.judge()


SIGNALS = (
    SendSignal(signal.SIGINT, 130),
    SendSignal(signal.SIGTERM, 143),
    SendSignal(signal.SIGHUP, 129),
    SendSignal(signal.SIGUSR1, 143),
)
WORKER = ("trial_server", "multiprocessing")  # the words of its command
KINDS = (
    Kind("driver", f"driver killed {KILLS} times", KillDriver(SERIAL, KILLS)),
    Kind("driver-ray", "driver killed 4 times, on Ray", KillDriver(RAY, 4)),
    Kind("worker", "process of a trial killed", KillProcess(WORKER, SERIAL, (0,), leaf=True)),
    Kind("workers", "all worker processes killed", KillProcess(WORKER, SERIAL, (0,))),
    Kind("worker-ray", "worker killed, on Ray", KillProcess(("ray::ImplicitFunc",), RAY, (0,))),
    Kind("raylet", "raylet killed", KillProcess(("raylet/raylet",), RAY, (1,))),
    Kind("gcs", "Ray's control service (GCS) killed", KillProcess(("gcs_server",), RAY, (1,))),
    Kind("gcs-hangs", "Ray's control service (GCS) hangs", StopProcess("gcs_server", 60.0)),
    Kind("raylet-hangs", "raylet hangs", StopProcess("raylet/raylet", 120.0)),
    Kind("head", "head node of a joined cluster killed", kill_head),
    *(Kind(send.number.name, f"{send.number.name} to the driver", send) for send in SIGNALS),
    Kind("SIGTERM-ray", "SIGTERM to the driver, on Ray", replace(SIGNALS[1], way=RAY)),
    Kind("output", "output closed by its reader, as `\\| head`", close_output),
    Kind("two-drivers", "second driver on the same run", run_two_drivers),
)
