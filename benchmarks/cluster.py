"""A Ray cluster of three nodes on this machine, with nodes that die and drivers that are killed.

    python benchmarks/cluster.py FOLDER

Each node has a network, processes, `/tmp/ray` and files of its own, in namespaces of Linux; all
that they share is a server that speaks like S3. It needs root, `ip`, `unshare` and `nsenter`, and
`moto[server]`. What happens, with the seconds since the start, is printed and kept in FOLDER; the
numbers of docs/cluster.md come from here.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NET, BRIDGE, PREFIX = "10.77.0", "robustune0", "robustune-node"
S3 = f"http://{NET}.1:9000"
HEAD = f"{NET}.10:6379"
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "AWS_ACCESS_KEY_ID": "of-a-benchmark",
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(8),
    "AWS_ENDPOINT_URL": S3,
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # else a busy machine starves the trials, and not the rest
    "WANDB_MODE": "disabled",
    "PYTHONUNBUFFERED": "1",
}
SEARCH = (
    *("--space", "smoke", "--trials", "8", "--epochs", "4", "--finalists", "off"),
    *("--address", HEAD, "--storage", "s3://bucket/runs", "--name", "night", "--resume-or-start"),
)
FROM_START = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - FROM_START:6.1f} s] {text}", flush=True)


def wait_for(what: str, is_true: Callable[[], object], seconds: float = 600.0) -> None:
    """Wait until something is true, and say how long it took."""
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"gave up waiting for {what}")
        time.sleep(0.2)
    say(f"{what} (after {time.monotonic() - began:.1f} s)")


def call(*words: str) -> None:
    """Run a command; raise if it fails."""
    subprocess.run(words, check=True)


class Node:
    """A machine: namespaces in which a process of Ray runs, and drivers may.

    Args:
      number: 0 is the head.
      folder: for its files and logs.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self.folder = number, folder
        self.name, self.address = f"{PREFIX}{number}", f"{NET}.{10 + number}"
        folder.mkdir(parents=True)
        call("ip", "netns", "add", self.name)
        call("ip", "link", "add", f"rb{number}", "type", "veth", "peer", "eth0", "netns", self.name)
        call("ip", "link", "set", f"rb{number}", "master", BRIDGE, "up")
        call("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            call("ip", "-n", self.name, "link", "set", device, "up")
        head = "--head --port=6379 --num-cpus=0 --include-dashboard=false"
        role = f"--address={HEAD} --num-cpus=1" if number else head
        start = (
            f"mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs {folder} "
            f"&& cd {folder} && exec ray start --block --disable-usage-stats {role} "
            f"--node-ip-address={self.address} --object-store-memory=100000000"
        )
        self.process = self._run("ip", "netns", "exec", self.name, *UNSHARE, "sh", "-c", start)

    def _run(self, *words: str, log: str = "ray.log") -> subprocess.Popen[bytes]:
        path = self.folder.with_name(f"{self.folder.name}-{log}")
        with path.open("ab") as file:
            return subprocess.Popen(words, env=ENVIRONMENT, stdout=file, stderr=file)

    def drive(self, *words: str, log: str) -> Driver:
        """Start launch.py on this node; its output goes to a file."""
        [inner] = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        program = (sys.executable, str(ROOT / "launch.py"))
        process = self._run(*enter(inner, self.folder), *program, *words, log=log)
        say(f"node {self.number}: python launch.py {' '.join(words)}")
        return Driver(process, self.folder.with_name(f"{self.folder.name}-{log}"))

    def kill(self) -> None:
        """Kill all processes of the node at once, as when its machine is lost."""
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        """Kill the node, and give back its network."""
        self.kill()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def enter(pid: str, folder: Path) -> tuple[str, ...]:
    """Return the words before a command that make it run where a process of a node is.

    Args:
      pid: of that process.
      folder: to begin in, as the node sees it: by `--wd` it would be the one of this machine, which
        relative paths lead to, and absolute ones do not.
    """
    return ("nsenter", "-t", pid, "-m", "-p", "-n", f"--wdns={folder}")


class Driver:
    """A launch.py that runs on a node."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def said(self, text: str, times: int = 1) -> bool:
        """Return whether a text has been printed so many times."""
        if self.process.poll() is not None and self.log.read_text().count(text) < times:
            raise SystemExit(f"launch.py has ended:\n{self.log.read_text()}")
        return self.log.read_text().count(text) >= times

    def kill(self) -> None:
        """Send SIGKILL to the driver, of which its node keeps nothing."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in (*map(int, children.split()), self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.wait()
        say("the driver was killed (SIGKILL)")

    def finish(self) -> None:
        """Wait for the end, and print the last lines; exit unless all went well."""
        code = self.process.wait(timeout=600)
        say(f"launch.py has ended with status {code}")
        print(self.log.read_text())
        if code:
            raise SystemExit(code)


@contextmanager
def share_network() -> Iterator[None]:
    """Give the nodes a bridge, and a server that speaks like S3 on it."""
    call("ip", "link", "add", BRIDGE, "type", "bridge")
    call("ip", "addr", "add", f"{NET}.1/24", "dev", BRIDGE)
    call("ip", "link", "set", BRIDGE, "up")
    words = [sys.executable, "-m", "moto.server", "-H", f"{NET}.1", "-p", "9000"]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(words, stdout=quiet, stderr=quiet)
    try:
        wait_for("the object store is up", lambda: _answers(f"{S3}/moto-api/"))
        make = urllib.request.Request(f"{S3}/bucket", method="PUT")
        urllib.request.urlopen(make, timeout=10).close()
        yield
    finally:
        server.kill()
        call("ip", "link", "del", BRIDGE)


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for logs; made anew")
    folder = parser.parse_args().folder.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the namespaces have to go
    with ExitStack() as stack:
        stack.enter_context(share_network())

        def start(number: int) -> Node:
            node = Node(number, folder / f"node{number}")
            stack.callback(node.remove)
            log = folder / f"node{number}-ray.log"
            wait_for(f"node {number} is up", lambda: "Ray runtime started" in log.read_text())
            return node

        head, first = start(0), start(1)
        driver = head.drive(*SEARCH, log="driver1.log")
        wait_for("a trial has finished", lambda: driver.said(" finished  "))
        second = start(2)
        started = driver.log.read_text().count(" started ")
        wait_for("the new node is used", lambda: driver.said(" started ", started + 1))
        before = driver.log.read_text().count(" finished  ")
        first.kill()
        say("node 1 was killed, with the trial that ran there")
        wait_for("the next trial has finished", lambda: driver.said(" finished  ", before + 1))
        driver.kill()
        driver = second.drive(*SEARCH, log="driver2.log")
        wait_for("a trial has finished", lambda: driver.said(" finished  "))
        driver.kill()
        driver = head.drive(*SEARCH, log="driver3.log")
        driver.finish()
        head.drive(*SEARCH, log="driver4.log").finish()


if __name__ == "__main__":
    main()
