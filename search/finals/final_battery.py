"""The final battery: the search's own attacks and AutoAttack's, at each radius of the search.

Its score has the unit of the search's score: a sum of attacked accuracies in percent points.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from adv import Attack, Battery, Linf, Worst, autoattack, autoattack_rand
from adv.attacks.settings import format_settings
from search.trials.figures import resize_attack
from spaces import Scale, score_label


@dataclass(frozen=True)
class FinalBattery:
    """The attacks that score finalists.

    Args:
      scale: sizes of the attacks and how many images there are.
      classes: of the data.
      nested: whether AutoAttack's attacks begin in the largest ball in which an image stands
        (`adv.Battery`); False: in each, as in the finals of earlier runs.
    """

    scale: Scale
    classes: int
    nested: bool = True

    def battery(self, random: bool) -> Battery:
        """Return AutoAttack's `rand` version for a random net, else its `standard` version.

        For a deterministic net, every image that the search's own battery fools counts as fooled. A
        random net is attacked once only: the worst of many random verdicts would be biased.
        """
        own = self.scale.battery()
        linf_only = all(isinstance(attack.ball, Linf) for _, attack in own.attacks)
        attacks: dict[str, Attack] = {}
        for own_name, attack in own.attacks:
            ball = attack.ball
            ensemble = (autoattack_rand if random else autoattack)(ball, self.classes)
            members = [resize_attack(member, self.scale) for _, member in ensemble.attacks]
            norm = "" if linf_only else f"{type(ball).__name__.lower()}-"
            name = f"{'rand' if random else 'autoattack'}-{norm}{ball.eps:g}"
            whole = Worst((*(() if random else (attack,)), *members))
            attacks[f"{name}-{own_name}" if name in attacks else name] = whole
        return Battery(
            tuple(attacks.items()),
            draws=self.scale.strong_draws,
            votes=own.votes,
            seed=own.seed,
            nested=self.nested,
        )

    @property
    def id(self) -> str:
        """The id of the battery: a hash of the attacks, votes and images, 12 hex digits."""
        parts = (self.battery(False), self.battery(True), self.scale.test_images)
        return hash_battery(parts)

    def describe(self) -> dict[str, Any]:
        """Return the battery as plain data and words, for the ledger's `finals` event."""
        label = score_label(self.scale.score, self.scale.threat_model)
        steps, queries = self.scale.strong_steps, self.scale.strong_queries
        return {
            "battery": self.id,
            "images": self.scale.test_images,
            "steps": steps,
            "attacks": f"The attacks of the {label} score, then AutoAttack's at its radii"
            f"{', from the largest at which an image stands' * self.nested}: APGD on "
            f"cross-entropy and on targeted DLR, {steps} steps each, and Square, {queries:,} "
            "queries; random nets: APGD on cross-entropy and on DLR alone, "
            f"{steps} steps, {self.scale.strong_draws} samples per gradient",
        }


def hash_battery(parts: object) -> str:
    """Return 12 hex digits that are equal for equal attacks, votes and numbers of images."""
    return hashlib.sha256(format_settings(parts).encode()).hexdigest()[:12]
