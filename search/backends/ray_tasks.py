"""Independent pieces of work on the cluster, such as stored nets to judge again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from search.backends.ray_imports import ray
from search.backends.ray_nodes import one_line
from search.backends.ray_tune import Resources
from search.backends.ray_worker import shared_images
from search.interrupt import Stop

Run = TypeVar("Run")
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
RETRIES = 2  # times that a piece may lose its worker


def spread(
    work: Callable[[Run, Item], Outcome],
    run: Run,
    items: Iterable[Item],
    resources: Resources,
    stop: Stop,
) -> Iterator[tuple[Item, Outcome | str]]:
    """`work(run, item)` for each item, as many at once as there is room for.

    Needs a cluster (`connect`). The run travels once. Items come in the order in which they end,
    with the outcome, or with one line where their worker was lost.

    Raises:
      Interrupted: `stop` said so.
      ClusterError: a piece fits on no node.
    """
    room = resources.places()
    needs: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    task: Any = ray.remote(**needs, max_retries=RETRIES)(work)
    with shared_images():
        shared = ray.put(run)
    queue, waiting = iter(items), dict[Any, Item]()
    while True:
        for item in queue:
            waiting[task.remote(shared, item)] = item
            if len(waiting) >= room:
                break
        if not waiting:
            return
        done, _ = ray.wait(list(waiting), timeout=0.5)
        stop.check()
        for reference in done:
            yield waiting.pop(reference), _outcome(reference)


def _outcome(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return one_line(error)
