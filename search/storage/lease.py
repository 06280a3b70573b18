"""The lease on a stored run: only the driver that holds it writes there.

An object store has no locks. So the owner writes its name to a file, and a counter that it raises
every few seconds. Who wants the run watches that counter for as long as a lease lasts; if it stands
still, the owner is dead, and its place is taken. An owner that was only asleep sees another name
when it wakes up, and ends. No clocks are compared, for those of two machines may differ.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from search.errors import StorageError
from search.record.ledger import LedgerInUseError
from search.record.run_folder import OWNER
from search.storage.store import Store

BEAT = 8.0  # seconds between two beats
LEASE = 30.0  # seconds without a beat after which an owner is dead
LOOK = 2.0  # seconds between two looks at the counter
READS = 5  # of a file that seems to be damaged
SIZE = 1024  # bytes, so that of a file that is replaced while it is read no half is read
SETTLE = 1.0  # seconds in which another driver that took the place at the same time is seen


class LeaseLostError(Exception):
    """Another driver has taken the place of this one; the message says which."""


class Lease:
    """The right to write to a stored run.

    Args:
      store: of the run.
      say: takes a line that says what is waited for.
      sleep: waits for so many seconds.

    Attributes:
      lost: who has taken the run from this driver, "" while it holds it.
      holds: whether this driver has taken the run.
    """

    def __init__(
        self,
        store: Store,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store, self.say, self.sleep = store, say, sleep
        self.id = secrets.token_hex(8)
        self.generation = 1
        self.lost = ""
        self.holds = False
        self._beats = 0
        self._end = Event()
        self._thread = Thread(target=self._work, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the run, once its last owner has released it or is dead.

        Raises:
          LedgerInUseError: another driver runs it.
          StorageError: the store fails.
        """
        found = self._read()
        if found is not None:
            self.generation = int(found.get("generation", 0)) + 1
            if not found.get("released"):
                self._wait_for_death(found)
        self._write()
        self.sleep(SETTLE)
        winner = self._read()
        if winner is None or winner.get("driver") != self.id:
            raise self._refusal(winner or {})
        self.holds = True

    def keep(self) -> None:
        """Raise the counter every few seconds from now on, in a thread of its own."""
        self._thread.start()

    def beat(self) -> None:
        """Raise the counter.

        Raises:
          LeaseLostError: another driver has taken the run.
          StorageError: the store fails.
        """
        self._check()
        self._write()

    def release(self) -> None:
        """Say that the run is free, if it is still ours.

        Raises:
          LeaseLostError, StorageError: as `beat`.
        """
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self._check()
        self._write(released=True)

    def _work(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self.beat()
            except LeaseLostError as lost:
                self.lost = str(lost)
                return
            except StorageError:  # the copy of the run says so
                continue

    def _check(self) -> None:
        """Raise LeaseLostError if another driver has taken the run."""
        found = self._read()
        if found and found.get("driver") != self.id:
            raise LeaseLostError(
                f"{self.store.location} was taken over by launch.py on {_describe(found)}"
            )

    def _wait_for_death(self, found: dict[str, Any]) -> None:
        """Wait until an owner is known to be dead."""
        alive = _is_alive_here(found)
        if alive is False:
            return
        if alive:
            raise self._refusal(found)
        self.say(
            f"{self.store.location} was last used by launch.py on {_describe(found)}, which did "
            f"not end in order: waiting {LEASE:.0f} s for a sign of life."
        )
        waited = 0.0
        while waited < LEASE:
            self.sleep(LOOK)
            waited += LOOK
            now = self._read()
            if now is None or now.get("released"):
                return
            if (now.get("driver"), now.get("beat")) != (found.get("driver"), found.get("beat")):
                raise self._refusal(now)

    def _refusal(self, found: dict[str, Any]) -> LedgerInUseError:
        return LedgerInUseError(
            f"{self.store.location} is in use by another launch.py on {_describe(found)}"
        )

    def _read(self) -> dict[str, Any] | None:
        for _ in range(READS):  # one that is replaced meanwhile may come in half
            content = self.store.read(OWNER)
            if content is None:
                return None
            with suppress(ValueError):
                found = json.loads(content)
                if isinstance(found, dict):
                    return found
        return {}  # damaged: its owner is unknown, and may be alive

    def _write(self, *, released: bool = False) -> None:
        record = {
            "driver": self.id,
            "generation": self.generation,
            "beat": self._beats,
            "released": released,
            "time": time.time(),  # for people
            **_describe_process(os.getpid()),
        }
        self.store.write(OWNER, json.dumps(record).encode().ljust(SIZE))
        self._beats += 1


def _describe(found: dict[str, Any]) -> str:
    return f"{str(found.get('host', 'a machine'))[:100]} (process {found.get('pid', '?')})"


def _describe_process(pid: int) -> dict[str, Any]:
    """Return what tells a process from all others; where there is no /proc only host and number."""
    found: dict[str, Any] = {"host": socket.gethostname(), "pid": pid}
    with suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        found["space"] = os.readlink("/proc/self/ns/pid")
        found["began"] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return found


def _is_alive_here(found: dict[str, Any]) -> bool | None:
    """Return whether an owner runs on this machine, None if it may be on another one."""
    mine = _describe_process(os.getpid())
    if "boot" not in mine or any(found.get(key) != mine[key] for key in ("host", "boot", "space")):
        return None
    pid = found.get("pid")
    if type(pid) is not int:
        return None
    return _describe_process(pid).get("began") == found.get("began")
