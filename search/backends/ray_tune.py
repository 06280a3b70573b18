"""Run a search on Ray Tune, on one node or many.

Tune starts, watches and ends the workers. The study suggests the trials and records their reports,
through a Searcher, a Scheduler and a Callback (`tune_adapters`); Tune's own records go to a
temporary folder. A trial keeps its state in its own folder, from which it resumes if it loses its
worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from search.backends.autoscaler import Autoscaler
from search.backends.ray_cluster import Cluster, abandon, connect, disconnect
from search.backends.ray_imports import ray, replace_attributes, tune
from search.backends.ray_nodes import ClusterError
from search.backends.ray_watch import GRACE, run_watched
from search.backends.ray_worker import train
from search.backends.resources import Resources
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
SECRETS = (  # Tune would copy these into the runtime_env of workers, which every user can list
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)


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
    with _environment(searcher.limit), _without_usage_tags(), scratch_folder() as scratch:
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


def _without_usage_tags() -> AbstractContextManager[None]:
    """Let Tune count no callbacks for its usage statistics, which are off.

    To count them it imports W&B and MLflow, for a second or more.
    """
    usage = sys.modules.get("ray.air._internal.usage")
    return replace_attributes(usage, tag_callbacks=lambda *_: False)
