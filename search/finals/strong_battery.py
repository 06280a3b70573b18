"""The strong battery: AutoAttack's line-up at each radius of the battery of the search.

So its score has the unit of the search's: a sum of attacked accuracies in percent points.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from adv import APGD, Attack, Battery, Square, Worst, autoattack, autoattack_rand
from spaces import Scale


@dataclass(frozen=True)
class Strong:
    """How finalists are attacked: at a scale, for nets with so many classes."""

    scale: Scale
    classes: int

    def battery(self, random: bool) -> Battery:
        """AutoAttack's `rand` for a random net, its `standard` for another.

        Whatever fools a deterministic net in the search's own battery counts here too. A random net
        is not judged so often: the worst of many verdicts by coin flips is no honest figure.
        """
        own = self.scale.battery()
        attacks = []
        for _, attack in own.attacks:
            line = (autoattack_rand if random else autoattack)(attack.ball, self.classes)
            members = [_sized(member, self.scale) for _, member in line.attacks]
            label = "rand" if random else "autoattack"
            whole = Worst((*(() if random else (attack,)), *members))
            attacks.append((f"{label}-{attack.ball.eps:g}", whole))
        return Battery(
            tuple(attacks), draws=self.scale.strong_draws, votes=own.votes, seed=own.seed
        )

    @property
    def id(self) -> str:
        """12 hex digits that change whenever an attack, a judge or the images do."""
        parts = (self.battery(False), self.battery(True), self.scale.test_images)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def describe(self) -> dict[str, Any]:
        """For the ledger and for whoever reads it."""
        steps, queries = self.scale.strong_steps, self.scale.strong_queries
        return {
            "battery": self.id,
            "images": self.scale.test_images,
            "steps": steps,
            "attacks": f"AutoAttack's line-up at the battery's radii: APGD on the cross-entropy "
            f"and on the targeted DLR, {steps} steps each, and Square, {queries:,} "
            f"queries; random nets: APGD on the cross-entropy and on DLR, {steps} steps, "
            f"{self.scale.strong_draws} draws a gradient",
        }


def _sized(attack: Attack, scale: Scale) -> Attack:
    if isinstance(attack, Worst):
        return Worst(tuple(_sized(member, scale) for member in attack.attacks))
    if isinstance(attack, APGD):
        return replace(attack, steps=scale.strong_steps)
    if isinstance(attack, Square):
        return replace(attack, queries=scale.strong_queries)
    return attack
