"""Independent tasks on a Ray cluster, such as scoring stored nets again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from search.backends.ray_imports import ray
from search.backends.ray_tune import Resources
from search.backends.ray_watch import Watch
from search.backends.shared_images import share_images
from search.errors import extract_last_line, find_storage_error
from search.interrupt import Interrupt

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
RETRIES = 2  # how often a task may lose its worker


def map_on_cluster(
    work: Callable[[Shared, Item], Outcome],
    shared: Shared,
    items: Iterable[Item],
    resources: Resources,
    interrupt: Interrupt,
) -> Iterator[tuple[Item, Outcome | str]]:
    """Yield `work(shared, item)` for each item, as many at once as the cluster has room for.

    Needs a cluster (`ray_cluster.connect`). Items come in the order in which they end.

    Args:
      work: the task.
      shared: its first argument, which is sent to each node once.
      items: the second argument of each task.
      resources: that one task needs.
      interrupt: says when to end early.

    Yields:
      Each item with its outcome, or with a line of text if its worker was lost.

    Raises:
      Interrupted: `interrupt` asked for it, or the cluster is lost (`interrupt.lost`).
      ClusterError: a task fits on no node.
      StorageError: a disk or mount failed under a task.
    """
    watch = Watch()
    room = resources.capacity()
    needs: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    task: Any = ray.remote(**needs, max_retries=RETRIES)(work)
    with share_images():
        reference_of_shared = ray.put(shared)
    queue, waiting = iter(items), dict[Any, Item]()
    while True:
        for item in queue:
            waiting[task.remote(reference_of_shared, item)] = item
            if len(waiting) >= room:
                break
        if not waiting:
            return
        done, _ = ray.wait(list(waiting), timeout=0.5)
        interrupt.lost = watch.find_loss()
        interrupt.check()
        for reference in done:
            yield waiting.pop(reference), _get_outcome(reference)


def _get_outcome(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        if storage := find_storage_error(getattr(error, "cause", error)):
            raise storage from None
        return extract_last_line(error)
