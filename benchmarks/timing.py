"""Time calls in turns, and say how far the timings lie apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Call = Callable[[], object]


def clock(device: str) -> Callable[[], float]:
    """Return a clock in seconds: processor time on a CPU, so that other programs count less."""

    def now() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def alternate(
    calls: dict[str, Call], repeats: int, device: str, *, warm: bool = True
) -> dict[str, list[float]]:
    """Return the seconds of each call, timed in turns.

    With `warm`, a first round is run and not counted.
    """
    now, seconds = clock(device), {name: [] for name in calls}
    for turn in range(repeats + warm):
        for name, call in calls.items():
            begun = now()
            call()
            if turn >= warm:
                seconds[name].append(now() - begun)
    return seconds


def median(seconds: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(seconds)


def half_range(seconds: Sequence[float]) -> str:
    """Return half the range divided by the median, in percent."""
    half = (max(seconds) - min(seconds)) / 2
    return f"±{100 * half / median(seconds):.0f} %"
