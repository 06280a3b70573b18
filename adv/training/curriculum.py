"""Curricula whose attack depends on the elapsed share of the training only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from adv.attacks import FGSMRS, L1, L2, NFGSM, PGD, Ball, Linf
from adv.attacks.settings import ADDED_LATER, format_settings
from adv.data.datasets import Split
from adv.suggestions import suggest
from adv.training.curriculum_state import CurriculumRun, FixedSchedule
from adv.training.lesson import Lesson
from adv.training.schedules import Ramp, Schedule, value_at


class AttackKind(NamedTuple):
    """A kind of attack that a `Curriculum` can train with.

    Args:
      pace: the usual length of a step, relative to eps.
      attack: makes the attack of a ball, a pace and a number of steps.
    """

    pace: float
    attack: Callable[[Ball, float, int], PGD | NFGSM]


ATTACK_KINDS = {
    "pgd": AttackKind(0.25, lambda ball, pace, steps: PGD(ball, steps=steps, pace=pace)),
    "fgsm": AttackKind(
        1.0, lambda ball, pace, _: PGD(ball, steps=1, pace=pace, random_start=False)
    ),
    "fgsm-rs": AttackKind(1.25, lambda ball, pace, _: FGSMRS(ball, pace)),
    "n-fgsm": AttackKind(1.0, lambda ball, pace, _: NFGSM(ball, pace=pace)),
}
"""The attacks that a `Curriculum` may train on, by the name in `kind`."""


NORMS: Mapping[str, type[Ball]] = {"linf": Linf, "l2": L2, "l1": L1}
"""The norms of a `Curriculum`, by name."""


@dataclass(frozen=True)
class Curriculum:
    """Schedules over the training attack. The defaults are the report's curriculum.

    At t = elapsed / total epochs: eps = 0.01 (1 - t) + 0.1 t, steps = int(10 (1 - t) + 40 t), half
    of each batch attacked. The idea is Cai et al. 2018 (`CAT` is their algorithm); here the attack
    grows stronger with every epoch.

    Args:
      eps: radius of the ball.
      steps: PGD steps, rounded down.
      pace: step length relative to eps; None: the usual one of the `kind` (PGD 0.25, FGSM and
        N-FGSM 1, FGSM with a random start 1.25).
      fraction: share of each batch that is attacked, in [0, 1].
      most_steps: a cap on `steps`, None for no cap. With fewer steps the pace grows, up to 1, so
        that `steps * pace` stays what it was, or 2.5, whichever is less.
      norm: of the ball: "linf", or for the kind "pgd" also "l2" or "l1"; `eps` is in its unit.
      kind: "pgd", or a one-step attack, for which `steps` and `most_steps` mean nothing: "fgsm"
        (without a random start, so that it overfits catastrophically), "fgsm-rs" or "n-fgsm".

    Raises:
      ValueError: there is no such kind or norm, or the kind has no such norm.
    """

    eps: Schedule = field(default_factory=lambda: Ramp(0.01, 0.1))
    steps: Schedule = field(default_factory=lambda: Ramp(10, 40))
    pace: Schedule | None = None
    fraction: Schedule = 0.5
    most_steps: int | None = None
    kind: str = "pgd"
    norm: str = field(default="linf", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.kind not in ATTACK_KINDS:
            near = suggest(str(self.kind), ATTACK_KINDS)
            raise ValueError(f"a kind is one of {', '.join(ATTACK_KINDS)}, got {self.kind!r}{near}")
        if self.norm not in NORMS:
            near = suggest(str(self.norm), NORMS)
            raise ValueError(f"a norm is one of {', '.join(NORMS)}, got {self.norm!r}{near}")
        if self.norm != "linf" and self.kind != "pgd":
            raise ValueError(f"the kind {self.kind} attacks in linf: in {self.norm} take pgd")

    def __repr__(self) -> str:
        return format_settings(self)  # as it was before there was a norm, where that is linf

    def __call__(self, t: float) -> Lesson:
        """Return the lesson at t in [0, 1).

        Raises:
          ValueError: the fraction at t is not in [0, 1].
        """
        fraction = value_at(self.fraction, t)
        if not 0 <= fraction <= 1:
            raise ValueError(f"the attacked fraction lies in [0, 1], got {fraction}")
        return Lesson(self._attack(t), fraction)

    def cap_steps(self, steps: int | None) -> Curriculum:
        """Return the same curriculum with at most `steps` PGD steps, None for no cap."""
        return replace(self, most_steps=steps)

    def lessons(self, epochs: int) -> tuple[Lesson, ...]:
        """Return the lesson of each epoch of a training of so many epochs."""
        return tuple(self(epoch / epochs) for epoch in range(epochs))

    def start(self, split: Split) -> CurriculumRun:
        """Return this curriculum as it runs in one training on `split`."""
        return FixedSchedule(self, split)

    def _attack(self, t: float) -> PGD | NFGSM:
        kind, ball = ATTACK_KINDS[self.kind], NORMS[self.norm](value_at(self.eps, t))
        pace = value_at(kind.pace if self.pace is None else self.pace, t)
        if self.kind != "pgd":
            return kind.attack(ball, pace, 1)
        steps = max(1, int(value_at(self.steps, t) + 1e-9))  # a cosine's 5 may be 4.999999999999999
        allowed = min(steps, self.most_steps or steps)
        if allowed < steps:
            pace = max(pace, min(1.0, pace * steps / allowed, 2.5 / allowed))
        return kind.attack(ball, pace, allowed)
