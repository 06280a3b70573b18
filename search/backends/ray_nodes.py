"""The nodes of a cluster, and whether they are fit for a search."""

from __future__ import annotations

import importlib.metadata
import platform
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.backends.ray_imports import ray


class ClusterError(ValueError):
    """A cluster that cannot be used, said in one line."""


def alive() -> list[Mapping[str, Any]]:
    """The nodes that answer, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def on_each_node(task: Any, *arguments: Any, seconds: float = 60.0) -> dict[str, Any]:
    """What `task(*arguments)` returns on each node, by the node's name and address.

    An error takes the place of an answer, also where a node does not answer in time. A node that
    has gone in the meantime is left out.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(task)
    answers = {}
    for node in alive():
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node["NodeID"], soft=False
        )
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        name = name if name not in answers else f"{name} {node['NodeID'][:6]}"
        answers[name] = remote.options(scheduling_strategy=here).remote(*arguments)
    heard = {name: _answer(reference, seconds) for name, reference in answers.items()}
    return {name: answer for name, answer in heard.items() if answer is not None}


def _answer(reference: Any, seconds: float) -> Any:
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.TaskUnschedulableError:
        return None
    except (ray.exceptions.RayError, OSError) as error:
        late = isinstance(error, ray.exceptions.GetTimeoutError)
        return ClusterError(f"no answer in {seconds:.0f} s" if late else one_line(error))


def one_line(error: BaseException) -> str:
    """The last line of an error that says something, without Ray's surroundings."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def versions() -> dict[str, str]:
    """The versions that have to be equal on all nodes."""
    packages = {name: importlib.metadata.version(name) for name in ("ray", "torch")}
    return {"python": platform.python_version(), **packages}


def check_versions() -> None:
    """Raise ClusterError unless every node runs what this machine runs."""
    ours = versions()
    for node, theirs in on_each_node(versions).items():
        if isinstance(theirs, ClusterError):
            raise ClusterError(f"node {node} cannot run our code: {theirs}")
        wrong = [f"{k} {theirs[k]} instead of {v}" for k, v in ours.items() if theirs[k] != v]
        if wrong:
            raise ClusterError(f"node {node} has {', '.join(wrong)}")


def check_storage(folder: Path) -> None:
    """Raise ClusterError unless every node reads and writes the run folder of this machine."""
    if len(alive()) < 2:
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shared-") as shared:
        word = secrets.token_hex(8)
        Path(shared, "word").write_text(word)
        for node, answer in on_each_node(_see, shared).items():
            if isinstance(answer, ClusterError):
                raise ClusterError(f"node {node} does not see {folder}: {answer}")
            seen, reply = answer
            if seen != word or not Path(shared, reply).exists():
                raise ClusterError(
                    f"node {node} does not see {folder} ({seen}): the run folder has to lie on "
                    "storage that all nodes share"
                )


def _see(shared: str) -> tuple[str, str]:
    reply = secrets.token_hex(8)
    try:
        Path(shared, reply).touch()
        return Path(shared, "word").read_text(), reply
    except OSError as error:
        return error.strerror or str(error), reply
