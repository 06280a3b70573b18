"""At which epochs a training is measured, so that it can be stopped there."""

from __future__ import annotations

from collections.abc import Sequence

HALF = 0.45  # of the full strength: "about half"
EARLIEST = 1 / 3  # of the epochs; before that no two nets can be told apart
LATEST = 0.85  # of the epochs; what is saved after that is not worth a decision


def rung_epochs(strengths: Sequence[float], eta: float = 2.0) -> tuple[int, ...]:
    """The epochs, counted from 1, after which a training is measured.

    The first is that at which the training attack has reached about half of its full strength, a
    third of the epochs at the earliest; the next follow in steps of `eta`.

    Args:
      strengths: of the attack in each epoch, in any unit.
      eta: ratio of one rung to the one before it, above 1.
    """
    epochs, full = len(strengths), max(strengths, default=0.0)
    strong = (
        n
        for n, strength in enumerate(strengths, 1)
        if n >= EARLIEST * epochs and strength >= HALF * full
    )
    found: list[int] = []
    at: float = next(strong, epochs)
    while 0 < at <= LATEST * epochs:
        found.append(round(at))
        at *= eta
    return tuple(found)
