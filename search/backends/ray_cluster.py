"""Connect to a Ray cluster: a private one on this machine, or one that runs already.

Ray prints nothing to the terminal; what goes wrong is raised as a ClusterError of one line.
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

from adv.keys import hide_keys
from search.backends.ray_folder import make_ray_folder, remove_ray_folder
from search.backends.ray_imports import ray
from search.backends.ray_nodes import ClusterError, check_versions, list_alive_nodes
from search.errors import extract_last_line

GIGABYTE = 1 << 30
EXCLUDED = ["runs", "data", ".git", ".venv", "tests", "docs", "benchmarks", "wandb", "__pycache__"]
SHIPPED = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)  # settings that workers on other nodes need


@dataclass(frozen=True)
class Cluster:
    """The cluster that a search runs on.

    Args:
      nodes: how many there are.
      cpus: of all nodes.
      gpus: of all nodes.
      address: host:port; "" for a private cluster.
    """

    nodes: int
    cpus: float
    gpus: float
    address: str = ""


def connect(address: str | None, *, project: Path) -> Cluster:
    """Start a private cluster on this machine, or join the one at `address`.

    RAY_* variables that the user has set take precedence over ours.

    Args:
      address: host:port, or "auto" for the cluster that runs on this machine; None: RAY_ADDRESS, or
        a private cluster if that is not set.
      project: folder with the code that workers of an existing cluster are sent.

    Raises:
      ClusterError: nothing answers at the address, or its nodes have other versions than this
        machine.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with _keep_signal_handlers():
        if address == "local":
            _start_private_cluster()
        else:
            _join(_resolve_address(address), project)
            try:
                check_versions()
            except ClusterError:
                disconnect()
                raise
    nodes = list_alive_nodes()
    return Cluster(
        nodes=len(nodes),
        cpus=sum(node["Resources"].get("CPU", 0.0) for node in nodes),
        gpus=sum(node["Resources"].get("GPU", 0.0) for node in nodes),
        address="" if address == "local" else address,
    )


def disconnect() -> None:
    """Leave the cluster: our workers end on all nodes, and so does a private cluster."""
    node = ray._private.worker._global_node
    processes: dict[str, list[Any]] = node.all_processes if node else {}
    for kind, started in processes.items():
        for info in () if kind in ("raylet", "gcs_server") else started:
            info.process.kill()  # Ray gives each a second for a SIGTERM that is blocked
    ray.shutdown()
    if node:
        remove_ray_folder(Path(node.get_temp_dir_path()))


def _start_private_cluster() -> None:
    """Start a cluster that nobody else can use: closed folder, loopback only, random token.

    It has a small object store and no dashboard.
    """
    folder = make_ray_folder()
    _set_token()
    # Ray's processes ignore a Ctrl-C that reaches all processes of a terminal, but not a SIGTERM,
    # which batch systems send to all. They inherit this mask, so that the search can end in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else GIGABYTE
    try:
        with _loopback_only(), hide_keys("RAY_AUTH_TOKEN"):  # workers would inherit them
            ray.init(
                address="local",
                _temp_dir=str(folder),
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
                object_store_memory=max(GIGABYTE // 10, min(GIGABYTE, int(room * 0.9))),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except Exception as error:  # a slow start is a bare Exception to Ray
        disconnect()
        remove_ray_folder(folder)
        raise ClusterError(
            f"Ray does not start on this machine: {extract_last_line(error)}"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _set_token() -> None:
    """Set a random token for the private cluster; else Ray writes one to the home folder."""
    if not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Let Ray take 127.0.0.1 for this machine's address, as it does on systems without clusters.

    `ray.init(_node_ip_address="127.0.0.1")` does not do it: Ray replaces that by an outer address.
    """
    constants = ray._private.ray_constants
    before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _resolve_address(address: str) -> str:
    """Return the address as host:port, once a Ray cluster has answered there."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} is a Ray Client address, which cannot run a search: start launch.py on a "
            "node of the cluster with --address auto, or submit it with `ray job submit`"
        )
    advice = "is it running (ray start --head), and can this machine reach it?"
    try:
        target = str(ray._private.services.canonicalize_bootstrap_address(address))
        host, port = target.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, AttributeError) as error:
        raise ClusterError(
            f"no Ray cluster at {address}: {extract_last_line(error)}; {advice}"
        ) from None
    return target


def _join(target: str, project: Path) -> None:
    # Every user of the cluster can list this environment: it must hold no key or password.
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
        raise ClusterError(
            f"cannot join the cluster at {target}: {extract_last_line(error)}"
        ) from None


@contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Put the handler of SIGTERM back, which ray.init replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
