"""Tell whoever asks how far an evaluation is: how many runs of its attacks are over.

with listen(lambda done, total: print(done, "of", total)):
evaluate(net, split, battery)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Listener = Callable[[int, int], None]
"""Takes how many runs are over, and how many there are."""
EVERY = 0.5  # seconds between two looks at runs that share a batch


@dataclass
class _Audience:
    listener: Listener
    total: int = 0
    done: int = 0
    looked: float = 0.0


_audience: ContextVar[_Audience | None] = ContextVar("audience", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Let a function hear of the progress of the evaluations in the block."""
    token = _audience.set(_Audience(listener))
    try:
        yield
    finally:
        _audience.reset(token)


def begin(total: int) -> None:
    """Say that an evaluation with so many runs begins."""
    if audience := _audience.get():
        audience.total, audience.done = total, 0
        audience.listener(0, total)


def advance(runs: int) -> None:
    """Say that so many runs more are over."""
    if audience := _audience.get():
        audience.done += runs
        audience.listener(audience.done, audience.total)


def look(count_over: Callable[[], int]) -> None:
    """Say how many of the runs that share a batch are over, if somebody listens, now and then.

    Args:
      count_over: counts them, which takes a moment.
    """
    audience = _audience.get()
    if audience and time.monotonic() - audience.looked > EVERY:
        audience.looked = time.monotonic()
        audience.listener(audience.done + count_over(), audience.total)
