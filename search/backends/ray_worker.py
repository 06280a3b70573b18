"""Run a trial in a Ray worker.

Reports travel as one line of JSON each, so that Tune neither flattens nor checks them.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.backends.messages import UnfitNodeError, encode_unfit, run_trial
from search.backends.node_needs import NodeNeeds
from search.backends.process_tree import adopt_orphans, end_descendants, list_descendants
from search.backends.ray_imports import ray, tune
from search.backends.ray_ranks import HelperStarter, TaskStarter
from search.record.trial import Run
from search.trials.rank_task import Helpers, started_by

PATIENCE = "600"  # seconds; Tune's own two are too few on a busy machine


def train(config: dict[str, Any], references: list[Any], needs: NodeNeeds | None = None) -> None:
    """Run one trial in a worker, and send each of its reports to the driver.

    An exception of the run is a message too, so that Tune does not retry it.

    Args:
      config: `task` is a trial, see `messages.encode_trial`.
      references: one, to the run in the object store.
      needs: what the node has to have; None: it is that of the driver.
    """
    try:
        if needs:
            needs.check()
    except UnfitNodeError as error:
        tune.report({"message": encode_unfit(error)})
        return
    run: Run = ray.get(references[0])
    # How long Tune waits for this function to end before it gives the worker another trial. A trial
    # that is given to a worker that is still busy is lost.
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", PATIENCE)
    try:
        helper = HelperStarter(needs)
        helpers = Helpers(helper.count, helper)
        with _contain(), started_by(TaskStarter(references[0], needs), helpers):
            for message in run_trial(run, config["task"]):
                tune.report({"message": message})
    finally:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()  # the next trial in this worker may be larger


@contextmanager
def _contain() -> Iterator[None]:
    """Undo at the end of a trial what the next one in this worker would notice.

    These are the directory, the environment, and the processes that the trial has started.
    """
    adopt_orphans()
    earlier, folder, environment = list_descendants(), os.getcwd(), dict(os.environ)
    try:
        yield
    finally:
        end_descendants(spare=earlier)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
