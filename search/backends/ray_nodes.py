"""Check that the nodes of a Ray cluster can run a search."""

from __future__ import annotations

import hashlib
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

OURS = ("adv", "spaces", "search")  # our packages
SOME_GPU = 0.001  # share of a GPU that is free unless whole ones are taken
SHARED = ".shared-"  # beginning of the name of the folder in which storage is checked


class ClusterError(ValueError):
    """A cluster that cannot be used; the message is one line."""


def list_alive_nodes() -> list[Mapping[str, Any]]:
    """Return the nodes that are alive, as `ray.nodes` describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def run_on_each_node(
    task: Any, *arguments: Any, seconds: float = 60.0, gpus: float = 0.0
) -> dict[str, Any]:
    """Run `task(*arguments)` on each node.

    Args:
      task: a function that Ray can pickle.
      arguments: its arguments.
      seconds: that a node may take to answer.
      gpus: share of a GPU that the task needs; with one only nodes with GPUs are asked.

    Returns:
      What each node returned, by its name and address; a ClusterError for a node that failed or
      did not answer in time. A node that has left the cluster meanwhile is not included.
    """
    remote = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(task)
    answers = {}
    for node in list_alive_nodes():
        if gpus and not node["Resources"].get("GPU"):
            continue
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
    return {"python": platform.python_version(), **packages, "robustune": hash_code()}


def hash_code() -> str:
    """Return 12 hex digits of the SHA-256 of our own source files, wherever they are imported."""
    root, found = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(path for part in OURS for path in (root / part).rglob("*.py")):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def check_versions() -> None:
    """Raise ClusterError unless every node has the versions of this machine."""
    ours = read_versions()
    for node, theirs in run_on_each_node(read_versions).items():
        if isinstance(theirs, ClusterError):
            raise ClusterError(f"node {node} cannot run our code: {theirs}")
        if wrong := compare_versions(ours, theirs):
            raise ClusterError(f"node {node} has {wrong}")


def compare_versions(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return in words which versions differ from those of the driver, "" if none does."""
    return ", ".join(f"{k} {theirs[k]} instead of {v}" for k, v in ours.items() if theirs[k] != v)


def check_gpus() -> None:
    """Raise ClusterError unless torch can use the GPUs that Ray counts on each node.

    A node whose GPUs are all taken by others is not waited for.
    """
    for node, problem in run_on_each_node(probe_gpu, gpus=SOME_GPU, seconds=30.0).items():
        if problem and not (isinstance(problem, ClusterError) and "no answer" in str(problem)):
            raise ClusterError(f"node {node} has a GPU that cannot be used: {problem}")


def probe_gpu() -> str:
    """Return why torch cannot use a GPU here, "" if it can."""
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees none (built for CUDA {torch.version.cuda})"
    try:
        torch.ones(1, device="cuda").sum().item()
    except RuntimeError as error:
        return extract_last_line(error)
    return ""


def check_storage(folder: Path) -> None:
    """Raise ClusterError unless every node can read and write a folder, of runs or of a run."""
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
