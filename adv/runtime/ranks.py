"""The processes that train or evaluate one net together, each on a part of every batch.

All processes, the ranks, run the same program on the same data and seed, so that whatever is not
split is equal on all of them. `Ranks` has the few collective operations that the parts need. Under
torchrun:

    with join_ranks() as ranks:
        for epoch in train(recipe, split, classes=10, seed=0, device=ranks.device, ranks=ranks):
            ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class LostRankError(RuntimeError):
    """Another rank has ended, or cannot be reached."""


@dataclass(frozen=True)
class Ranks:
    """One of the processes that work together on a net; its collectives need all of them.

    Args:
      rank: of this process, from 0.
      count: number of processes, 1 or more.
      device: of this process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default=torch.device("cpu"), repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise ValueError(f"a rank is from 0 to {self.count - 1}, got {self.rank}")

    def rows(self, n: int) -> range:
        """Return which of n rows are those of this rank: neighbours, the last ranks may lack one.

        A rank has none where there are fewer rows than ranks.
        """
        each, more = divmod(n, self.count)
        begin = self.rank * each + min(self.rank, more)
        return range(begin, begin + each + (self.rank < more))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the ranks."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def largest(self, tensor: Tensor) -> Tensor:
        """Return the elementwise maximum of a tensor over the ranks."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def _reduce(self, tensor: Tensor, operation: Any) -> Tensor:
        place = tensor.device
        reduced = tensor.detach().to(self.device, copy=True, memory_format=torch.contiguous_format)
        with _notice_loss():
            dist.all_reduce(reduced, operation)
        return reduced.to(place)

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Return the n rows of which each rank has its own, in order; see `rows`."""
        size = -(-n // self.count)
        padded = rows.new_zeros((size, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        with _notice_loss():
            dist.all_gather(parts, padded)
        sizes = [len(Ranks(rank, self.count).rows(n)) for rank in range(self.count)]
        joined = torch.cat([part[:kept] for part, kept in zip(parts, sizes, strict=True)])
        last = rows.dim() == 4 and rows.is_contiguous(memory_format=torch.channels_last)
        return joined.contiguous(memory_format=torch.channels_last) if last else joined

    def share(self, value: T) -> T:
        """Return what rank 0 gives, of any type that can be pickled."""
        if self.count == 1:
            return value
        holder: list[Any] = [value]
        with _notice_loss():
            dist.broadcast_object_list(holder, 0)
        shared: T = holder[0]
        return shared

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what `make` returns on rank 0, where alone it is called.

        Whatever it raises there is raised on all ranks.
        """
        made: tuple[T | None, Exception | None] = None, None
        if self.rank == 0:
            try:
                made = make(), None
            except Exception as error:
                made = None, error
        value, failure = self.share(made)
        if failure is not None:
            raise failure
        result: T = value  # type: ignore[assignment]
        return result

    def agree(self, value: bool = True) -> bool:
        """Return the value that rank 0 gives."""
        if self.count == 1:
            return value
        flag = torch.tensor([int(value)], device=self.device)
        with _notice_loss():
            dist.broadcast(flag, 0)
            return bool(flag)

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        self.agree()


ALONE = Ranks()


@contextmanager
def _notice_loss() -> Iterator[None]:
    """Turn what torch raises in a collective into a LostRankError."""
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise LostRankError(str(error)) from error


@contextmanager
def join_ranks(
    rank: int | None = None,
    count: int | None = None,
    *,
    device: str | None = None,
    meet: str | None = None,
) -> Iterator[Ranks]:
    """Join the other processes; leave them when the block ends.

    Args:
      rank: of this process; None: torchrun's `RANK`.
      count: of the processes; None: torchrun's `WORLD_SIZE`. A single one joins nothing.
      device: "cpu" (gloo) or "cuda" (NCCL); None: CUDA where there is a GPU for this process.
        The GPU is the only one that this process sees, else that of `LOCAL_RANK`, else that of
        the rank.
      meet: where the processes find each other, "file://" and the path of a file that does not
        exist yet, or "tcp://HOST:PORT" of the first; None: at torchrun's address.

    Raises:
      ValueError: a number is missing or out of its range.
    """
    rank, count = _number("RANK", rank), _number("WORLD_SIZE", count)
    local = int(os.environ.get("LOCAL_RANK", rank))
    seen = torch.cuda.device_count()
    local = 0 if seen == 1 else local
    cuda = device == "cuda" or (device is None and local < seen)
    place = torch.device("cuda", local) if cuda else torch.device("cpu")
    ranks = Ranks(rank, count, place)
    if cuda:
        torch.cuda.set_device(place)
    if count == 1:
        yield ranks
        return
    backend = "nccl" if cuda else "gloo"
    with _notice_loss():
        dist.init_process_group(backend, init_method=meet, rank=rank, world_size=count)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def _number(variable: str, given: int | None) -> int:
    text = os.environ.get(variable, "") if given is None else str(given)
    if not text.isdigit():
        raise ValueError(f"{variable} is {text or 'not set'}: start this with torchrun")
    return int(text)
