"""The training attack over time: what each epoch's lesson is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from adv.attacks import FGSMRS, NFGSM, PGD, Linf
from adv.data.datasets import Split
from adv.suggestions import suggest
from adv.training.curriculum_state import Course, Planned
from adv.training.lesson import Lesson
from adv.training.schedules import Ramp, Schedule, at

Kind = Literal["pgd", "fgsm", "fgsm-rs", "n-fgsm"]
_PACE = {"pgd": 0.25, "fgsm": 1.0, "fgsm-rs": 1.25, "n-fgsm": 1.0}


@dataclass(frozen=True)
class Curriculum:
    """Schedules over the training attack. The defaults are the report's curriculum.

    At t = elapsed / total epochs: eps = 0.01 (1 - t) + 0.1 t, steps = int(10 (1 - t) + 40 t), half
    of each batch attacked. Cai et al. 2018 is the idea (`CAT` is what they did); here the strength
    rises with every epoch.

    Args:
      eps: radius of the Linf ball.
      steps: PGD steps, rounded down.
      pace: step length relative to eps; None: what is usual for the `kind` (PGD 0.25, FGSM and
        N-FGSM 1, FGSM with a random start 1.25).
      fraction: share of each batch that is attacked, in [0, 1].
      most_steps: a cap on `steps`, None for no cap. With fewer steps the pace grows, up to 1, so
        that `steps * pace` stays what it was, or 2.5, whichever is less.
      kind: "pgd", or an attack of one step, for which `steps` and `most_steps` mean nothing:
        "fgsm" (from the image itself, which overfits catastrophically), "fgsm-rs", "n-fgsm".

    Raises:
      ValueError: there is no such kind.
    """

    eps: Schedule = field(default_factory=lambda: Ramp(0.01, 0.1))
    steps: Schedule = field(default_factory=lambda: Ramp(10, 40))
    pace: Schedule | None = None
    fraction: Schedule = 0.5
    most_steps: int | None = None
    kind: Kind = "pgd"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            near = suggest(str(self.kind), get_args(Kind))
            raise ValueError(
                f"a kind is one of {', '.join(get_args(Kind))}, got {self.kind!r}{near}"
            )

    def __call__(self, t: float) -> Lesson:
        """The lesson at t in [0, 1)."""
        fraction = at(self.fraction, t)
        if not 0 <= fraction <= 1:
            raise ValueError(f"the attacked fraction lies in [0, 1], got {fraction}")
        return Lesson(self._attack(t), fraction)

    def capped(self, steps: int | None) -> Curriculum:
        """The same with at most so many PGD steps, None for no cap."""
        return replace(self, most_steps=steps)

    def lessons(self, epochs: int) -> tuple[Lesson, ...]:
        """One for each of so many epochs."""
        return tuple(self(epoch / epochs) for epoch in range(epochs))

    def course(self, split: Split) -> Course:
        """The lessons of a training on `split`."""
        return Planned(self, split)

    def _attack(self, t: float) -> PGD | NFGSM:
        ball = Linf(at(self.eps, t))
        pace = at(_PACE[self.kind] if self.pace is None else self.pace, t)
        if self.kind == "fgsm":
            return PGD(ball, steps=1, pace=pace, random_start=False)
        if self.kind == "fgsm-rs":
            return FGSMRS(ball, pace)
        if self.kind == "n-fgsm":
            return NFGSM(ball, pace=pace)
        steps = max(1, int(at(self.steps, t) + 1e-9))  # a cosine's 5 may be 4.999999999999999
        capped = min(steps, self.most_steps or steps)
        if capped < steps:
            pace = max(pace, min(1.0, pace * steps / capped, 2.5 / capped))
        return PGD(ball, steps=capped, pace=pace)
