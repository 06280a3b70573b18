"""Run a search on Ray Tune, on one node or many.

Tune starts, watches and ends the workers. The study suggests the trials and records their reports,
through a Searcher, a Scheduler and a Callback (`tune_adapters`); Tune's own records go to a
temporary folder. A trial keeps its state in its own folder, from which it resumes if it loses its
worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from search.backends.autoscaler import Autoscaler
from search.backends.gpu_range import GpuRange
from search.backends.node_needs import NodeNeeds
from search.backends.packing import Packer
from search.backends.ray_cluster import Cluster, abandon, connect, disconnect
from search.backends.ray_imports import ray, tune
from search.backends.ray_nodes import ClusterError, list_alive_nodes
from search.backends.ray_watch import GRACE, run_watched
from search.backends.ray_worker import train
from search.backends.scratch import scratch_folder
from search.backends.shared_images import share_images
from search.backends.trial_timeout import TrialTimeout, Watchdog
from search.backends.tune_adapters import StudyCallback, StudyScheduler, StudySearcher
from search.interrupt import Interrupt
from search.record.trial import Run
from search.study import Study

__all__ = ["Cluster", "ClusterError", "Resources", "abandon", "connect", "disconnect", "search"]

TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a box even at verbosity 0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # the ledger is the record
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
NODE_ID = "ray.io/node-id"  # a label that Ray gives each node
SECRETS = (  # Tune would copy these into the runtime_env of workers, which every user can list
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)


@dataclass(frozen=True)
class Resources:
    """The resources of one trial, or of another task.

    Args:
      cpus: cores.
      gpus: GPUs; fractions share one.
      concurrent: how many run at once at most; None: as many as fit.
      allowed: how many GPUs the autoscaler may be asked for; None: it is not asked.
      packed: whether an architecture's own needs change the share (`search.backends.packing`).
      ranks: how many processes train a trial together; they share its cores and GPUs evenly, and
        are on one node where it has room for all.
      needs: what each node of a cluster has to have; None: there is only this machine.
      unfit: ids of nodes that lack something, on which no trial runs any more.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    concurrent: int | None = None
    allowed: GpuRange | None = None
    packed: bool = False
    ranks: int = 1
    needs: NodeNeeds | None = None
    unfit: set[str] = field(default_factory=set, compare=False)

    @property
    def on_gpu(self) -> bool:
        """True if a trial has a GPU, or a share of one."""
        return self.gpus > 0

    def pack(self, study: Study) -> Packer | None:
        """Return what chooses the share of each trial; None if all trials have the same."""
        if not self.packed or self.gpus > 1:
            return None
        cores = max((n["Resources"].get("CPU", 0.0) for n in list_alive_nodes()), default=0.0)
        share, whole = (self.gpus, 1.0) if self.on_gpu else (self.cpus, max(cores, self.cpus))
        return Packer(study, share, whole, on_gpu=self.on_gpu)

    def place(self, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """Return the resources of a trial: of the share that its configuration names, if any.

        Tune calls this in a copy of the object, so the nodes to avoid are in the configuration too.
        The ranks of a trial are packed on one node where it has room for all.
        """
        bundle, share = self.bundle, config["share"]
        if share:
            bundle = _bundle(self.cpus, share) if self.on_gpu else _bundle(share, 0.0)
        bundles = [bundle] * self.ranks
        if not config["unfit"]:
            return tune.PlacementGroupFactory(bundles, strategy="PACK")
        elsewhere = {NODE_ID: f"!in({','.join(config['unfit'])})"}
        return tune.PlacementGroupFactory(
            bundles, strategy="PACK", bundle_label_selector=[elsewhere] * self.ranks
        )

    @property
    def bundle(self) -> dict[str, float]:
        """The resources of one rank of a trial."""
        return _bundle(self.cpus / self.ranks, self.gpus / self.ranks)

    def capacity(self) -> int:
        """Return how many trials the nodes of the cluster can hold at once, as it is now.

        Raises:
          ClusterError: no node can hold one, and none may be asked for.
        """
        alive = [node for node in list_alive_nodes() if node.get("NodeID") not in self.unfit]
        nodes = [node["Resources"] for node in alive]
        fits = sum(self._fit(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
        room = fits // self.ranks
        if room == 0 and self.allowed:
            return 1  # a trial that waits for a place is asked for, too
        if room == 0:
            have = ", ".join(f"{n.get('CPU', 0):g} CPUs {n.get('GPU', 0):g} GPUs" for n in nodes)
            needs = (
                f"{self.cpus:g} CPUs and {self.gpus:g} GPUs on one node"
                if self.ranks == 1
                else f"{self.ranks} times {self.cpus / self.ranks:g} CPUs and "
                f"{self.gpus / self.ranks:g} GPUs"
            )
            raise ClusterError(
                f"a trial needs {needs}, the cluster's nodes have: "
                f"{have or 'nothing, no node is left'}"
            )
        return room if self.concurrent is None else max(1, min(room, self.concurrent))

    def _fit(self, cpus: float, gpus: float) -> int:
        """Return how many ranks of trials a node has room for."""
        bounds, cpu, gpu = [10_000], self.cpus / self.ranks, self.gpus / self.ranks
        if cpu > 0:
            bounds.append(int(cpus / cpu + 1e-6))
        if 0 < gpu < 1:  # a rank never spans two halves of different GPUs
            bounds.append(int(gpus) * int(1 / gpu + 1e-6))
        elif gpu:
            bounds.append(int(gpus / gpu + 1e-6))
        return min(bounds)


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def search(
    study: Study,
    run: Run,
    interrupt: Interrupt,
    resources: Resources,
    timeout: TrialTimeout = TrialTimeout(),  # noqa: B008  # a frozen value
) -> None:
    """Run every trial that `study` suggests, as many at once as the cluster has room for.

    Needs a cluster (`connect`). The run is put into the object store once; the workers of a node
    share its image tensors.

    Args:
      study: the search.
      run: that trains its trials.
      interrupt: says when to end early.
      resources: of one trial.
      timeout: how long a trial may be silent.

    Raises:
      Interrupted: `interrupt` asked for it, or the cluster is lost (`interrupt.lost`); trials that
        ran resume from their last epoch next time.
      ClusterError: a trial fits on no node.
    """
    if study.remaining:
        run_watched(
            lambda: _search(study, run, interrupt, resources, timeout),
            interrupt,
            give_up=lambda: study.ledger.claim(seconds=GRACE),
        )


def _search(
    study: Study, run: Run, interrupt: Interrupt, resources: Resources, timeout: TrialTimeout
) -> None:
    with _asking_for_room(study, resources) as capacity:
        _run_tune(study, run, interrupt, resources, (timeout, capacity))


@contextmanager
def _asking_for_room(study: Study, resources: Resources) -> Iterator[Callable[[], int]]:
    """Give a function that returns how many trials there is room for, and asks for more."""
    if resources.allowed is None:
        yield resources.capacity
        return
    trial = [resources.bundle] * resources.ranks
    scaler = Autoscaler(study, trial, resources.concurrent, resources.allowed)

    def ask() -> int:
        scaler.update()
        return resources.capacity()

    try:
        yield ask
    finally:
        scaler.release()


def _run_tune(
    study: Study,
    run: Run,
    interrupt: Interrupt,
    resources: Resources,
    limits: tuple[TrialTimeout, Callable[[], int]],
) -> None:
    timeout, capacity = limits
    packer = resources.pack(study)
    searcher = StudySearcher(study, capacity, packer, resources.unfit)
    callback = StudyCallback(study, searcher, interrupt, Watchdog(study, timeout))
    with _environment(searcher.limit), scratch_folder() as scratch:
        with share_images():
            trainable = tune.with_parameters(
                train, references=[ray.put(run)], needs=resources.needs
            )
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources.place),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=StudyScheduler(study, searcher, callback),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=str(scratch), callbacks=[callback], verbose=0
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            raise callback.error or error from None


@contextmanager
def _environment(limit: int) -> Iterator[None]:
    """Set the variables that Tune reads, and hide secrets, for as long as the block runs."""
    ours = {**TUNE, "TUNE_MAX_PENDING_TRIALS_PG": str(limit)}  # else workers start one by one
    before = {name: os.environ.get(name) for name in (*ours, *SECRETS)}
    for name in SECRETS:
        os.environ.pop(name, None)
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
