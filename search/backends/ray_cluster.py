"""To a Ray cluster and back: a private one on this machine, or one that runs already.

Ray says nothing on the terminal: whatever goes wrong comes back as one ClusterError line.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.backends.ray_imports import ray
from search.backends.ray_nodes import ClusterError, alive, check_versions, one_line

GIGABYTE = 1 << 30
EXCLUDED = ["runs", "data", ".git", ".venv", "tests", "docs", "benchmarks", "wandb", "__pycache__"]
SHIPPED = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)  # what workers elsewhere need of our settings


@dataclass(frozen=True)
class Cluster:
    """What a search runs on: how many nodes, CPUs and GPUs in all. `address` is "" for our own."""

    nodes: int
    cpus: float
    gpus: float
    address: str = ""


def connect(address: str | None, *, project: Path) -> Cluster:
    """Start a private cluster on this machine, or join the one at `address`.

    The RAY_* variables that the user has set win over ours.

    Args:
      address: host:port, or "auto" for the one that runs on this machine; None for RAY_ADDRESS,
        or a private cluster where that is not set.
      project: the folder whose code the workers of an existing cluster get.

    Raises:
      ClusterError: nothing answers there, or its nodes run other versions than this machine.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with _handlers():
        if address == "local":
            _start()
        else:
            _join(_answering(address), project)
            try:
                check_versions()
            except ClusterError:
                disconnect()
                raise
    nodes = alive()
    return Cluster(
        nodes=len(nodes),
        cpus=sum(node["Resources"].get("CPU", 0.0) for node in nodes),
        gpus=sum(node["Resources"].get("GPU", 0.0) for node in nodes),
        address="" if address == "local" else address,
    )


def disconnect() -> None:
    """Leave the cluster: our workers end everywhere, and so does a cluster of our own."""
    node = ray._private.worker._global_node
    processes: dict[str, list[Any]] = node.all_processes if node else {}
    for kind, started in processes.items():
        for info in () if kind in ("raylet", "gcs_server") else started:
            info.process.kill()  # Ray gives each a second for a SIGTERM that _start has blocked
    ray.shutdown()


def _start() -> None:
    """A cluster of our own: no dashboard, a modest object store, no port open to strangers."""
    _set_token()
    # Ray's processes are deaf to a Ctrl-C that reaches all of a terminal's processes, but not to a
    # SIGTERM that does, as batch systems send it. They inherit the mask, and outlive us a moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    key = os.environ.pop("WANDB_API_KEY", None)  # workers would inherit it, and have no use for it
    room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else GIGABYTE
    try:
        ray.init(
            address="local",
            num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            object_store_memory=max(GIGABYTE // 10, min(GIGABYTE, int(room * 0.9))),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:  # a slow start is a bare Exception to Ray
        disconnect()
        raise ClusterError(f"Ray does not start here: {one_line(error)}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if key is not None:
            os.environ["WANDB_API_KEY"] = key


def _set_token() -> None:
    """A random token for a cluster that ends with us: Ray would write one to the user's home."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if not any(name in os.environ for name in names):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _answering(address: str) -> str:
    """The address as host:port, once a Ray cluster has answered there."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is Ray Client, which cannot run a search: start launch.py on a node of the "
            "cluster with --address auto, or with `ray job submit`"
        )
    advice = "is it running (ray start --head), and can this machine reach it?"
    try:
        target = str(ray._private.services.canonicalize_bootstrap_address(address))
        host, port = target.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, AttributeError) as error:
        raise ClusterError(f"no Ray cluster at {address}: {one_line(error)}; {advice}") from None
    return target


def _join(target: str, project: Path) -> None:
    # Anyone on the cluster can list this environment: no key, no password goes in here.
    environment: dict[str, Any] = {"env_vars": {name: os.environ[name] for name in SHIPPED}}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # `ray job submit` ships the code itself
        environment |= {"working_dir": str(project), "excludes": EXCLUDED}
    try:
        ray.init(
            address=target,
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"cannot join the cluster at {target}: {one_line(error)}") from None


@contextmanager
def _handlers() -> Iterator[None]:
    """Keep the signal handlers: ray.init puts one of its own on SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
