"""One lesson of a training: what attacks, and whom."""

from __future__ import annotations

from dataclasses import dataclass

from adv.attacks import NFGSM, PGD, Ladder


@dataclass(frozen=True)
class Lesson:
    """What the attack of one epoch is, and which share of each batch meets it.

    An objective that attacks every image (all but `Mixed`) has no use for `fraction`.
    """

    attack: PGD | NFGSM | Ladder
    fraction: float = 1.0

    @property
    def passes(self) -> float:
        """Gradient steps that an attacked image takes, in the mean."""
        return self.attack.steps / (2 if isinstance(self.attack, Ladder) else 1)
