"""Notice that the cluster of a search is lost, and end the search without it.

Ray says so late or never: a driver whose head (GCS) has died is ended from C++ after a minute, with
nothing saved, and until then calls of Ray may not return. So they are made in a thread of their
own, and given up where the cluster is lost.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

from search.backends.ray_imports import ray
from search.interrupt import Interrupt

RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # after which Ray itself ends a driver
PATIENCE = 8.0  # seconds for which a cluster that was joined may be out of reach
SILENCE = 20.0  # seconds for which a head may answer nothing, though it runs
EVERY = 1.0  # seconds between two tries to reach it
ANSWER = 2  # seconds that an answer may take
GRACE = 3.0  # seconds that Tune gets to end after a loss
HEAD = "the cluster's head (GCS)"
RAYLET = "Ray's process on this machine (raylet)"


class Watch:
    """Watches the cluster that this driver is connected to.

    The processes of a private cluster are children of this one, so their death is seen at once. Of
    a cluster that was joined, the head and the raylet of this machine have to accept connections;
    short gaps of the network and a head that is started again are waited for. Both may also hang
    while the kernel still accepts connections for them. So the head is asked whether this machine's
    raylet is alive, of which Ray itself makes sure (within about a minute).
    """

    def __init__(self) -> None:
        node: Any = ray._private.worker._global_node
        started: dict[str, list[Any]] = node.all_processes
        self._children = {
            label: started[kind][0].process
            for kind, label in (("gcs_server", HEAD), ("raylet", RAYLET))
            if kind in started
        }
        self._places = {}
        if not self._children:
            self._places[HEAD] = node.gcs_address
            self._places[RAYLET] = f"{node.node_ip_address}:{node.node_manager_port}"
        self._node: str = node.node_id
        self._patience = find_patience()
        self._seen = dict.fromkeys(self._places, time.monotonic())
        self._next_try = time.monotonic()
        self._silent_since: float | None = None

    def find_loss(self) -> str:
        """Return why the cluster is lost, "" while it is not."""
        for label, process in self._children.items():
            if process.poll() is not None:
                return f"{label} has died"
        if time.monotonic() < self._next_try:
            return ""
        loss = self._find_unreached()
        if loss is None:  # else there is nobody to ask
            loss = self._find_hung()
        self._next_try = time.monotonic() + EVERY
        return loss

    def _find_unreached(self) -> str | None:
        """Return why the cluster is lost, "" if a process is out of reach, None if none is."""
        reached = True
        for label, place in self._places.items():
            if _accepts(place):
                self._seen[label] = time.monotonic()
            elif time.monotonic() - self._seen[label] > self._patience:
                return f"{label} at {place} has not been reached for {self._patience:.0f} s"
            else:
                reached = False
        return None if reached else ""

    def _find_hung(self) -> str:
        """Return which process has hung for too long, "" for none."""
        asked = time.monotonic()
        is_alive = _ask_head(self._node)
        if is_alive:
            self._silent_since = None
            return ""
        if self._silent_since is None:  # the first question without a good answer
            self._silent_since = asked
        limit = max(SILENCE, self._patience)
        if time.monotonic() - self._silent_since <= limit:
            return ""
        silent = HEAD if is_alive is None else RAYLET
        return f"{silent} has not answered for {limit:.0f} s"


def find_patience() -> float:
    """Return for how many seconds a cluster that was joined may be out of reach.

    A user who lets Ray wait longer, or less long, for a head that is started again sets it too.
    """
    try:
        return max(1.0, float(os.environ[RECONNECT]) - 5.0)  # we have to be earlier than Ray
    except (KeyError, ValueError):
        return PATIENCE


def run_watched(
    work: Callable[[], None], interrupt: Interrupt, give_up: Callable[[], None]
) -> None:
    """Run `work`, which uses Ray, in a thread of its own while this one watches the cluster.

    Args:
      work: calls `interrupt.check` often.
      interrupt: is told of a loss.
      give_up: called before a thread is left behind that does not end after a loss.

    Raises:
      Interrupted: the cluster is lost, or `work` has raised it.
    """
    watch, outcome = Watch(), Future[None]()
    Thread(target=_run, args=(work, outcome), daemon=True).start()
    deadline = 0.0
    while not wait([outcome], timeout=0.2).done:
        if not interrupt.lost:
            interrupt.lost = watch.find_loss()
            deadline = time.monotonic() + GRACE
        elif time.monotonic() > deadline:
            give_up()
            interrupt.check()
    if outcome.exception() is not None:
        interrupt.lost = interrupt.lost or watch.find_loss()
        if interrupt.lost:
            interrupt.check()
    outcome.result()


def _run(work: Callable[[], None], outcome: Future[None]) -> None:
    try:
        work()
        outcome.set_result(None)
    except BaseException as error:  # the other thread raises it
        outcome.set_exception(error)


def _ask_head(node: str) -> bool | None:
    """Return whether the cluster's head takes a node for alive, None if it does not answer.

    Args:
      node: its id, in hex.
    """
    worker: Any = ray._private.worker.global_worker
    try:
        [is_alive] = worker.gcs_client.check_alive([ray.NodeID.from_hex(node)], timeout=ANSWER)
    except Exception:  # of Ray, which has many
        return None
    return bool(is_alive)


def _accepts(place: str) -> bool:
    """Return whether something accepts connections at host:port."""
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY).close()
    except OSError:
        return False
    return True
