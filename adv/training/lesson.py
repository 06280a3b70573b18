"""One lesson of a training: the attack of an epoch, and the share of the images it attacks."""

from __future__ import annotations

from dataclasses import dataclass

from adv.attacks import NFGSM, PGD, Ladder


@dataclass(frozen=True)
class Lesson:
    """The attack of one epoch, and the share of each batch that is attacked.

    An objective that attacks every image (all but `Mixed`) ignores `fraction`.
    """

    attack: PGD | NFGSM | Ladder
    fraction: float = 1.0

    @property
    def passes(self) -> float:
        """Mean number of gradient steps that an attacked image takes."""
        return self.attack.steps / (2 if isinstance(self.attack, Ladder) else 1)
