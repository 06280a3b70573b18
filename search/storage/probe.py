"""Check that each node of a cluster can use a store."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from search.backends.ray_nodes import ClusterError, run_on_each_node
from search.errors import StorageError
from search.record.run_folder import OWNER
from search.storage.location import Location
from search.storage.store import Store

FOLDER = "marks"  # in the run's folder of the store; empty once nodes are checked


def check_store(location: Location) -> None:
    """Let each node read a mark of ours in a store, and write one that we read.

    Args:
      location: of a run.

    Raises:
      ClusterError: a node cannot.
      StorageError: this machine cannot.
    """
    store, word = Store(location), secrets.token_hex(8)
    store.write(f"{FOLDER}/{word}", word.encode())
    try:
        for node, answer in run_on_each_node(probe_store, location, word).items():
            if isinstance(answer, ClusterError):
                raise ClusterError(f"node {node} cannot use {location}: {answer}")
            reply, problem = answer
            if not problem and store.read(f"{FOLDER}/{reply}") != word.encode():
                problem = "what it writes is not seen here, so its storage is another one"
            if problem:
                raise ClusterError(f"node {node} cannot use {location}: {problem}")
    finally:
        for entry in store.list_files(FOLDER):
            store.delete(entry.name)


def probe_store(location: Location, word: str) -> tuple[str, str]:
    """Return the name of a copy of the mark that this node has made, and what went wrong."""
    reply = secrets.token_hex(8)
    try:
        store = Store(location)
        content = store.read(f"{FOLDER}/{word}")
        if content != word.encode():
            return reply, "it does not see what the driver writes there: the storage is another one"
        store.write(f"{FOLDER}/{reply}", content)
    except StorageError as error:
        return reply, str(error)
    return reply, ""


@dataclass(frozen=True)
class StoreOwner:
    """Says whether a node sees the store that this driver holds, and can write there.

    Args:
      location: of the run.
      driver: id of the driver's lease.
    """

    location: Location
    driver: str

    def __call__(self) -> str:
        name = f"{FOLDER}/{secrets.token_hex(8)}"
        try:
            store = Store(self.location)
            owner = json.loads(store.read(OWNER) or b"{}")
            store.write(name, self.driver.encode())
            store.delete(name)
        except (StorageError, ValueError) as error:
            return f"cannot use {self.location}: {error}"
        if owner.get("driver") != self.driver:
            return f"cannot use {self.location}: it sees another storage there"
        return ""
