"""Check that the nodes of a Ray cluster can run a search."""

from __future__ import annotations

import importlib.metadata
import platform
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.backends.ray_imports import ray
from search.errors import extract_last_line

SHARED = ".shared-"  # beginning of the name of the folder in which storage is checked


class ClusterError(ValueError):
    """A cluster that cannot be used; the message is one line."""


def list_alive_nodes() -> list[Mapping[str, Any]]:
    """Return the nodes that are alive, as `ray.nodes` describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def run_on_each_node(task: Any, *arguments: Any, seconds: float = 60.0) -> dict[str, Any]:
    """Run `task(*arguments)` on each node.

    Args:
      task: a function that Ray can pickle.
      arguments: its arguments.
      seconds: that a node may take to answer.

    Returns:
      What each node returned, by its name and address; a ClusterError for a node that failed or
      did not answer in time. A node that has left the cluster meanwhile is not included.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(task)
    answers = {}
    for node in list_alive_nodes():
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node["NodeID"], soft=False
        )
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        name = name if name not in answers else f"{name} {node['NodeID'][:6]}"
        answers[name] = remote.options(scheduling_strategy=here).remote(*arguments)
    results = {name: _wait_for(reference, seconds) for name, reference in answers.items()}
    return {name: result for name, result in results.items() if result is not None}


def _wait_for(reference: Any, seconds: float) -> Any:
    """Return the answer of a node, a ClusterError in its place, or None if the node has left."""
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.TaskUnschedulableError:
        return None
    except (ray.exceptions.RayError, OSError) as error:
        late = isinstance(error, ray.exceptions.GetTimeoutError)
        return ClusterError(f"no answer in {seconds:.0f} s" if late else extract_last_line(error))


def read_versions() -> dict[str, str]:
    """Return the versions that have to be equal on all nodes, by package."""
    packages = {name: importlib.metadata.version(name) for name in ("ray", "torch")}
    return {"python": platform.python_version(), **packages}


def check_versions() -> None:
    """Raise ClusterError unless every node has the versions of this machine."""
    ours = read_versions()
    for node, theirs in run_on_each_node(read_versions).items():
        if isinstance(theirs, ClusterError):
            raise ClusterError(f"node {node} cannot run our code: {theirs}")
        wrong = [f"{k} {theirs[k]} instead of {v}" for k, v in ours.items() if theirs[k] != v]
        if wrong:
            raise ClusterError(f"node {node} has {', '.join(wrong)}")


def check_storage(folder: Path) -> None:
    """Raise ClusterError unless every node can read and write the run folder."""
    for left in folder.glob(f"{SHARED}*"):  # by a driver that was killed: no other uses this run
        shutil.rmtree(left, ignore_errors=True)
    if len(list_alive_nodes()) < 2:
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=SHARED) as shared:
        word = secrets.token_hex(8)
        Path(shared, "word").write_text(word)
        for node, answer in run_on_each_node(_probe_storage, shared).items():
            if isinstance(answer, ClusterError):
                raise ClusterError(f"node {node} cannot access {folder}: {answer}")
            seen, reply = answer
            if seen != word or not Path(shared, reply).exists():
                raise ClusterError(
                    f"node {node} cannot access {folder} ({seen}): the run folder has to be on "
                    "storage that all nodes share"
                )


def _probe_storage(shared: str) -> tuple[str, str]:
    """Return the word in a shared folder, or why it cannot be read, and the name of a new file."""
    reply = secrets.token_hex(8)
    try:
        Path(shared, reply).touch()
        return Path(shared, "word").read_text(), reply
    except OSError as error:
        return error.strerror or str(error), reply
