"""The rungs: the epochs at which a trial is evaluated and may be stopped."""

from __future__ import annotations

from collections.abc import Sequence

HALF = 0.45  # of the attack's full strength: "about half"
EARLIEST = 1 / 3  # of the epochs; before that nets differ too little to be ranked
LATEST = 0.85  # of the epochs; stopping after that would save too little


def rung_epochs(
    strengths: Sequence[float], eta: float = 2.0, *, lr: Sequence[float] = ()
) -> tuple[int, ...]:
    """Return the epochs, counted from 1, after which a trial is evaluated.

    The first is the one at which the training attack has reached about half of its full strength,
    but not before a third of the epochs, and not before the learning rate has begun to fall: until
    then nets are ranked by how they bear a high rate. Each following rung is `eta` times later.

    Args:
      strengths: of the training attack in each epoch, in any unit.
      eta: ratio of one rung to the one before it, above 1.
      lr: the learning rate in each epoch, in any unit; if it never falls, or is not known (the
        default), it delays nothing.
    """
    epochs, full = len(strengths), max(strengths, default=0.0)
    fallen = _begins_to_fall(lr)
    strong = (
        n
        for n, strength in enumerate(strengths, 1)
        if n >= max(fallen, EARLIEST * epochs) and strength >= HALF * full
    )
    found: list[int] = []
    at: float = next(strong, epochs)
    while 0 < at <= LATEST * epochs:
        found.append(round(at))
        at *= eta
    return tuple(found)


def _begins_to_fall(lr: Sequence[float]) -> int:
    """Return the first epoch below the highest learning rate for good, 0 if there is none."""
    highest = max(lr, default=0.0)
    last = max((n for n, rate in enumerate(lr, 1) if rate >= highest), default=0)
    return last + 1 if last < len(lr) else 0
