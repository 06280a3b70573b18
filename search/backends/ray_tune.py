"""The same search on Ray Tune, on one node or many: the twin of `search.backends.serial`.

Tune starts, watches and ends the workers. What to try comes from the study and what happened goes
there, through a thin Searcher, Scheduler and Callback; Tune's own records go to a folder that is
thrown away. A trial keeps its state in its own folder, so one that lost its worker goes on from
there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from search.backends.ray_cluster import Cluster, connect, disconnect
from search.backends.ray_imports import tune
from search.backends.ray_nodes import ClusterError, alive, check_storage
from search.backends.ray_worker import shared_images, train
from search.backends.tune_adapters import Feed, Judge, Watch
from search.interrupt import Stop
from search.record.trial import Run
from search.study import Study

__all__ = ["Cluster", "ClusterError", "Resources", "connect", "disconnect", "search"]

TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box even when it is told to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # the ledger is the record
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
SECRETS = (  # Tune would copy these into the workers' runtime_env, which anyone can list
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many trials run at once (None: as many as fit)."""

    cpus: float = 1.0
    gpus: float = 0.0
    concurrent: int | None = None

    def places(self) -> int:
        """How many trials the cluster's nodes can hold at once, as it is now.

        Raises:
          ClusterError: not a single one.
        """
        nodes = [node["Resources"] for node in alive()]
        room = sum(self._fit(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
        if room == 0:
            have = ", ".join(f"{n.get('CPU', 0):g} CPUs {n.get('GPU', 0):g} GPUs" for n in nodes)
            raise ClusterError(
                f"a trial needs {self.cpus:g} CPUs and {self.gpus:g} GPUs on one node, "
                f"the cluster's nodes have: {have or 'nothing, none is left'}"
            )
        return room if self.concurrent is None else max(1, min(room, self.concurrent))

    def _fit(self, cpus: float, gpus: float) -> int:
        bounds = [10_000]
        if self.cpus > 0:
            bounds.append(int(cpus / self.cpus + 1e-6))
        if 0 < self.gpus < 1:  # a trial never spans two halves of different GPUs
            bounds.append(int(gpus) * int(1 / self.gpus + 1e-6))
        elif self.gpus:
            bounds.append(int(gpus / self.gpus + 1e-6))
        return min(bounds)


def search(study: Study, run: Run, stop: Stop, resources: Resources) -> None:
    """Run every trial that `study` suggests, as many at once as there is room for.

    Needs a cluster (`connect`). The run is put into the object store once; workers on a node share
    its image tensors.

    Raises:
      Interrupted: `stop` said so; the trials at hand go on from their last epoch next time.
      ClusterError: a trial fits on no node, or a node does not see the run folder.
    """
    if not study.open:
        return
    resources.places()
    check_storage(study.ledger.path.parent.absolute())
    feed = Feed(study, resources.places)
    watch = Watch(study, feed, stop)
    with _environment(feed.limit), tempfile.TemporaryDirectory(prefix="robustune-") as scratch:
        with shared_images():
            trainable = tune.with_parameters(train, run=run)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=feed,
                scheduler=Judge(study, feed, watch),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=scratch, callbacks=[watch], verbose=0
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            raise watch.error or error from None


@contextmanager
def _environment(limit: int) -> Iterator[None]:
    ours = {**TUNE, "TUNE_MAX_PENDING_TRIALS_PG": str(limit)}  # or workers start one by one
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
