"""Check at the start that each node of a cluster can run a search, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from search.backends.node_needs import NodeNeeds, SharedFolder
from search.backends.ray_nodes import check_gpus, check_storage, read_versions
from search.record.run_folder import LEDGER
from search.session.hold_run import HeldRun, joins_cluster
from search.session.job import Job
from search.session.options import Options, choose_run_folder
from search.session.plan import Machine
from search.storage.probe import StoreOwner, check_store


def check_cluster(options: Options, machine: Machine, held: HeldRun | None) -> None:
    """Let a task on each node use the storage, and its GPU if there is one.

    The versions of Python, torch, Ray and our code were compared when the cluster was joined.

    Args:
      options: of the user.
      machine: the cluster.
      held: the run in a store; without one all nodes have to share the run folder.

    Raises:
      ClusterError: a node cannot; one line names it.
      OSError, StorageError: this machine cannot.
    """
    if held:
        check_store(held.location)
    if not held:
        check_storage(_nearest_folder(choose_run_folder(options).absolute()))
    if machine.gpus and options.gpus_per_trial != 0:
        check_gpus()


def _nearest_folder(path: Path) -> Path:
    """Return the folder of a run, or the one that exists in which it will be made."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def needs_of_nodes(job: Job) -> NodeNeeds | None:
    """Return what a node that joins later has to have; None where no node can join."""
    if not joins_cluster(job.options):
        return None
    held = job.mirror
    storage: Callable[[], str] = SharedFolder.of(job.folder / LEDGER)
    if held:
        storage = StoreOwner(held.store.location, held.lease.id)
    return NodeNeeds(read_versions(), storage, gpu=job.scale.gpus > 0)
