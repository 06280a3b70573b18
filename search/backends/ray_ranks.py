"""The other ranks of a trial as tasks of Ray, in the places that the trial has asked for.

A trial of several ranks asks for as many bundles of a placement group, which Ray packs on one node
where they fit, and else spreads over several. The trial's worker is the first rank, and has the
first bundle.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from search.backends.messages import UnfitNodeError
from search.backends.node_needs import NodeNeeds
from search.backends.ray_imports import ray
from search.backends.shared_images import share_images
from search.record.trial import Run
from search.trials.rank_task import (
    PATIENCE,
    Cause,
    NoRoomError,
    OtherRanks,
    RankTask,
    SplitRun,
)

# isort: split
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

MOST = 63  # helpers
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class TaskStarter:
    """Starts the other ranks of a trial (`search.trials.rank_task.Starter`).

    Args:
      run: a reference to the run in the object store, from which each rank takes it.
      needs: what the node of each rank has to have; None: all are on this one.
    """

    run: Any
    needs: NodeNeeds | None = None

    @contextmanager
    def __call__(self, run: SplitRun, task: RankTask) -> Iterator[OtherRanks]:
        """Start them.

        Raises:
          UnfitNodeError: one of their nodes lacks something.
        """
        places = list(_list_places(task.count, _own_group(), 1))
        with _started(self.run, self.needs, task, places) as others:
            yield others


@dataclass(frozen=True)
class HelperStarter:
    """Starts other ranks in places that are free now, beside those of the trial.

    Args:
      needs: what the node of each has to have; None: all are on this one.
    """

    needs: NodeNeeds | None = None

    def count(self) -> int:
        """Return how many there is room for, each with as much as the trial's first rank."""
        free, bundle = ray.available_resources(), _own_group().bundle_specs[0]
        rooms = [int(free.get(name, 0.0) / amount + 1e-6) for name, amount in bundle.items()]
        return min([MOST, *rooms])

    def _fit(self, task: RankTask, group: Any) -> bool:
        try:
            if self.needs:
                _check_places(self.needs, list(_list_places(task.count, group, 0)))
        except UnfitNodeError:  # whatever trial meets that node says so
            return False
        return True

    @contextmanager
    def __call__(self, run: SplitRun, task: RankTask) -> Iterator[OtherRanks]:
        """Start them; see `TaskStarter`.

        Raises:
          NoRoomError: somebody else has taken a place, or a node lacks something.
        """
        bundles = [_own_group().bundle_specs[0]] * (task.count - 1)
        group = ray.util.placement_group(bundles, strategy="PACK")
        try:
            if not group.wait(PATIENCE) or not self._fit(task, group):
                raise NoRoomError
            with share_images():
                reference = ray.put(run)
            places = list(_list_places(task.count, group, 0))
            with _started(reference, None, task, places) as others:
                yield others
        finally:
            ray.util.remove_placement_group(group)


@contextmanager
def _started(
    reference: Any, needs: NodeNeeds | None, task: RankTask, places: list[dict[str, Any]]
) -> Iterator[OtherRanks]:
    _choose_interface()
    if needs:
        _check_places(needs, places)
    others = _Tasks(reference, task, places)
    try:
        yield others
    finally:
        others.end()


class _Tasks:
    """The other ranks of a trial; they end with the process that has started them."""

    def __init__(self, run: Any, task: RankTask, places: list[dict[str, Any]]) -> None:
        self.meet = f"tcp://{ray.util.get_node_ip_address()}:{_find_port()}"
        remote: Any = ray.remote(_follow)
        self._tasks = [
            remote.options(**place).remote([run], task, rank, self.meet)
            for rank, place in enumerate(places, 1)
        ]
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def find_cause(self) -> Cause | None:
        ready, _ = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=PATIENCE)
        causes = [_read(task) for task in ready]
        return next((cause for cause in causes if cause is not None), None)

    def _watch(self) -> None:
        """End this process when another rank was killed, or its node: nothing else may tell."""
        left = list(self._tasks)
        while left and not self._ended.wait(1.0):
            ready, left = ray.wait(left, timeout=0.0)
            if any(_read(task) == Cause() for task in ready) and not self._ended.is_set():
                os.kill(os.getpid(), signal.SIGKILL)

    def end(self) -> None:
        """Wait until all have ended; end those that do not."""
        self._ended.set()
        _, left = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=PATIENCE)
        for task in left:
            ray.cancel(task, force=True)


def _check_places(needs: NodeNeeds, places: list[dict[str, Any]]) -> None:
    """Raise UnfitNodeError if the node of a place lacks something."""
    check: Any = ray.remote(_check)
    ray.get([check.options(**place).remote(needs) for place in places])


def _check(needs: NodeNeeds) -> None:
    needs.check()


def _own_group() -> Any:
    """Return the placement group of the trial that this worker runs."""
    return ray.util.get_current_placement_group()


def _list_places(count: int, group: Any, first: int) -> Iterator[dict[str, Any]]:
    """Yield the options of tasks that run in the bundles of the other ranks.

    Args:
      count: of all ranks.
      group: that has the bundles.
      first: the index of that of rank 1.
    """
    for index in range(first, first + count - 1):
        bundle: Mapping[str, float] = group.bundle_specs[index]
        yield {
            "num_cpus": bundle.get("CPU", 0.0),
            "num_gpus": bundle.get("GPU", 0.0),
            "max_retries": 0,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=index
            ),
        }


def _follow(run: list[Any], task: RankTask, rank: int, meet: str) -> Cause | None:
    """Be another rank of a trial: a task of Ray."""
    from search.trials.ranks import follow

    _choose_interface()
    whole: Run = ray.get(run[0])
    inner: Any = getattr(whole, "run", whole)  # of a `StoredRun`: the first rank has the files
    return follow(inner, task, rank, meet)


def _read(task: Any) -> Cause | None:
    """Return why a rank that has ended has failed, if it has."""
    try:
        cause: Cause | None = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        return Cause(str(error).strip().splitlines()[-1])
    except ray.exceptions.RayError:  # its process or its node has died
        return Cause()
    return cause


def _find_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        port: int = free.getsockname()[1]
        return port


def _choose_interface() -> None:
    """Let the ranks talk through the network that Ray uses, whatever the host's name leads to."""
    import psutil  # type: ignore[import-untyped]  # which Ray brings along

    here = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == here for one in addresses):
            for variable in INTERFACES:
                os.environ.setdefault(variable, name)
