"""Connect to a Ray cluster: a private one on this machine, or one that runs already.

Ray prints nothing to the terminal; what goes wrong is raised as a ClusterError of one line.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from adv.keys import hide_keys
from adv.one_line import join_lines
from search.backends.process_tree import list_descendants
from search.backends.ray_address import resolve_address
from search.backends.ray_folder import make_ray_folder, remove_ray_folder, sweep_ray_folders
from search.backends.ray_imports import ray, replace_attributes
from search.backends.ray_nodes import ClusterError, check_versions, list_alive_nodes
from search.backends.scratch import mark_processes
from search.errors import extract_last_line
from search.interrupt import HANDLED

GIGABYTE = 1 << 30
EXCLUDED = [  # as in a .gitignore: without the slash, `data` would leave out `adv/data` too
    *("/runs", "/data", "/.git", "/.venv", "/tests", "/docs", "/benchmarks", "/wandb", "/deploy"),
    "__pycache__",
]
SHIPPED = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)  # settings that workers on other nodes need


@dataclass(frozen=True)
class Cluster:
    """The cluster that a search runs on.

    Args:
      nodes: how many there are.
      cpus: of all nodes.
      gpus: of all nodes.
      address: host:port; "" for a private cluster.
      swept: a line on what was removed that killed drivers had left, "" for nothing.
    """

    nodes: int
    cpus: float
    gpus: float
    address: str = ""
    swept: str = ""


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
    swept = sweep_ray_folders()
    try:
        if address == "local":
            _start_private_cluster()
        else:
            _join(resolve_address(address), project)
            check_versions()
        nodes = list_alive_nodes()
    except BaseException:  # a signal too
        disconnect()
        raise
    return Cluster(
        nodes=len(nodes),
        cpus=sum(node["Resources"].get("CPU", 0.0) for node in nodes),
        gpus=sum(node["Resources"].get("GPU", 0.0) for node in nodes),
        address="" if address == "local" else address,
        swept=swept,
    )


def disconnect() -> None:
    """Leave the cluster: our workers end on all nodes, and so does a private cluster."""
    node: Any = ray._private.worker._global_node
    if node:  # Ray gives each process a second for a SIGTERM that is blocked
        node.kill_all_processes = lambda **_: _kill_processes(node.all_processes)
    ray.shutdown()
    if node:
        remove_ray_folder(Path(node.get_temp_dir_path()))


def _kill_processes(processes: dict[str, list[Any]]) -> None:
    """Kill the processes of a private cluster, by kind, and all that these have started.

    Without a raylet its workers end, but Ray's agents first try for a minute to tell the cluster.
    """
    started = [info.process for kind in processes.values() for info in kind]
    processes.clear()
    descendants = [pid for process in started for pid in list_descendants(process.pid)]
    for process in started:
        process.kill()
    for pid in descendants:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in started:
        process.wait()


def abandon(code: int) -> NoReturn:
    """End this process, and what is left of a cluster that is lost: leaving it would not return.

    Args:
      code: the exit status.
    """
    node: Any = ray._private.worker._global_node
    remove_ray_folder(Path(node.get_temp_dir_path()))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _start_private_cluster() -> None:
    """Start a cluster that nobody else can use: closed folder, loopback only, random token.

    It has a small object store and no dashboard.
    """
    folder = make_ray_folder()
    _set_token()
    room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else GIGABYTE
    try:
        with (
            _block_signals(),
            _keep_signal_handlers(),
            hide_keys("RAY_AUTH_TOKEN"),  # workers would inherit them
            _loopback_only(),
            without_helpers(),
            mark_processes(folder.parent),
        ):
            ray.init(
                address="local",
                _temp_dir=str(folder),
                num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
                object_store_memory=max(GIGABYTE // 10, min(GIGABYTE, int(room * 0.9))),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except BaseException as error:
        remove_ray_folder(folder)
        if not isinstance(error, Exception):  # a slow start is a bare Exception to Ray
            raise
        raise ClusterError(
            f"Ray does not start on this machine: {extract_last_line(error)}"
        ) from None


@contextmanager
def _block_signals() -> Iterator[None]:
    """Block the signals that end a search in order, for the processes that the block starts.

    Ray's processes ignore a Ctrl-C that reaches all processes of a terminal, but not a SIGTERM or
    a warning, which batch systems send to all, nor the SIGHUP of a terminal that closes. They
    inherit this mask, so that the search can end in order.
    """
    blocked = set(HANDLED) - {signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)


def _set_token() -> None:
    """Set a random token for the private cluster; else Ray writes one to the home folder."""
    if not any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _loopback_only() -> AbstractContextManager[None]:
    """Let Ray take 127.0.0.1 for this machine's address, as it does on systems without clusters.

    `ray.init(_node_ip_address="127.0.0.1")` does not do it: Ray replaces that by an outer address.
    """
    return replace_attributes(ray._private.ray_constants, ENABLE_RAY_CLUSTER=False)


def without_helpers() -> AbstractContextManager[None]:
    """Let Ray start no process that a private cluster has no use for.

    They serve the dashboard, the autoscaler and the workers' logs, and take 2.5 of the 4 seconds
    in which a cluster starts on two cores.
    """
    helpers = ("start_api_server", "start_monitor", "start_log_monitor")
    node = ray._private.node.Node
    return replace_attributes(node, **dict.fromkeys(helpers, lambda *_, **__: None))


def _join(target: str, project: Path) -> None:
    # Every user of the cluster can list this environment: it must hold no key or password.
    environment: dict[str, Any] = {"env_vars": {name: os.environ[name] for name in SHIPPED}}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # `ray job submit` ships the code itself
        environment |= {"working_dir": str(project), "excludes": EXCLUDED}
    try:
        with _keep_signal_handlers():
            ray.init(
                address=target,
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        text = str(error)
        cause = join_lines(text, 300) if "Version mismatch" in text else extract_last_line(error)
        raise ClusterError(f"cannot join the cluster at {target}: {cause}") from None


@contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Put the handler of SIGTERM back, which ray.init replaces by one that raises SystemExit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
