"""What a node has to have before a trial runs on it, checked by the worker that would run it.

The nodes that are there at the start are all checked then (`search.session.check_cluster`). One
that joins later is checked by its first worker, before that trains anything.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from search.backends.messages import UnfitNodeError
from search.backends.ray_imports import ray
from search.backends.ray_nodes import SHARED, compare_versions, probe_gpu, read_versions
from search.errors import describe_error

_fit: NodeNeeds | None = None  # what this process has found its node to have


@dataclass(frozen=True)
class NodeNeeds:
    """The versions, storage and GPU that each node of a cluster must have.

    Args:
      versions: of Python, packages and our code, as `read_versions` returns them.
      storage: returns why the storage of the run cannot be used here, "" if it can.
      gpu: whether trials need one.
    """

    versions: Mapping[str, str]
    storage: Callable[[], str]
    gpu: bool

    def check(self) -> None:
        """Raise UnfitNodeError if this node lacks something; a worker looks only once."""
        global _fit  # noqa: PLW0603 - of this process
        if _fit == self:
            return
        if problem := self._find_problem():
            where = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
            node = ray.get_runtime_context().get_node_id()
            raise UnfitNodeError(f"node {where} {problem}", node)
        _fit = self

    def _find_problem(self) -> str:
        try:
            if wrong := compare_versions(self.versions, read_versions()):
                return f"has {wrong}"
            if self.gpu and (problem := probe_gpu()):
                return f"has a GPU that cannot be used: {problem}"
            return self.storage()
        except Exception as error:  # such as a package that is not installed there
            return f"cannot run our code: {describe_error(error)}"


@dataclass(frozen=True)
class SharedFolder:
    """Says whether a node sees the run folder of the driver.

    Args:
      ledger: of the run, absolute.
      size: bytes of the ledger, at least.
      digest: SHA-256 of these.
    """

    ledger: Path
    size: int
    digest: str

    @classmethod
    def of(cls, ledger: Path) -> SharedFolder:
        """Return what says whether a node sees this ledger, as it is now or longer."""
        content = ledger.read_bytes()
        return cls(ledger.absolute(), len(content), hashlib.sha256(content).hexdigest())

    def __call__(self) -> str:
        folder = self.ledger.parent
        mark = folder / f"{SHARED}{secrets.token_hex(8)}"
        try:
            with self.ledger.open("rb") as file:
                seen = hashlib.sha256(file.read(self.size)).hexdigest()
            mark.touch()
            mark.unlink()
        except OSError as error:
            return f"cannot access {folder}: {error.strerror or error}"
        if seen != self.digest:
            return f"cannot access {folder}: it sees another one there, which is not shared"
        return ""
