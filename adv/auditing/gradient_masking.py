"""The masking gap: what a score says, less what a stronger attack with another loss leaves of it.

A search rewards whatever weakens its own attack: logits that saturate the cross-entropy, gradients
that vanish, noise. The gap is cheap enough to be taken of each trial, and shows such a net.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from adv.attacks import APGD, PGD, Square, Worst
from adv.auditing.context import AuditContext, audit_context
from adv.auditing.finding import Finding, Interval, difference, share
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.score import Score
from adv.intervals import MASKING_GAP_LIMIT

TARGETS = 3
QUERIES = 5  # for each step


@dataclass(frozen=True)
class Gap:
    """How far a score falls under a stronger attack at the same radius.

    Args:
      eps: the radius.
      claimed: accuracy under the battery's attacks at this radius, in [0, 1].
      strong: accuracy under the strong ones.
      interval: of the difference, at 95 %.
      images: on which all of it was measured.
    """

    eps: float
    claimed: float
    strong: float
    interval: Interval
    images: int

    @property
    def gap(self) -> float:
        """The difference, a share of the images; what is honest lies between 0 and 0.03."""
        return self.claimed - self.strong

    @property
    def flagged(self) -> bool:
        """Whether the whole interval lies above the limit of 4 points."""
        return self.interval[0] > MASKING_GAP_LIMIT


def masking_gap(
    model: nn.Module,
    split: Split,
    battery: Battery | None = None,
    *,
    eps: float = 8 / 255,
    score: Score | None = None,
    batch: int | None = None,
) -> Gap:
    """Attack what a battery leaves standing, by margins of logits and by queries alone.

    The strong attacks are PGD by the margin, APGD by the targeted DLR for the nearest classes, and
    a few queries of Square, which needs no gradient; 10 to 20 steps each, as the battery has. Of a
    deterministic net they meet the images that stand, so the gap is never below 0. A random net is
    attacked anew with twice the draws, by the margin alone, and judged once: images that were lucky
    before are not counted as a gap.

    Args:
      model: as for `evaluate`.
      split: the images.
      battery: the evaluation that is doubted; None: PGD-20 at `eps`.
      eps: of the battery's radii the nearest to this one is taken.
      score: what `evaluate` said of this net under this battery, where it is known already; its
        first images must be those of `split`.
      batch: as for `evaluate`.

    Raises:
      ValueError: there is no image, or the battery attacks at radius 0 only.
    """
    return gap_of(audit_context(model, split, battery, eps, batch, score))


def gap_of(context: AuditContext) -> Gap:
    """The gap of a case."""
    if context.random:
        attack = PGD(context.ball, context.steps, pace=5 / context.steps, loss="margin")
        stands = context.right(attack, draws=2 * context.battery.draws)
        interval = difference(context.standing, stands)[1]
    else:
        stands = context.right(_strong(context), context.standing)
        interval = share(context.standing & ~stands)[1]
    claimed, strong = (float(row.double().mean()) for row in (context.standing, stands))
    return Gap(context.ball.eps, claimed, strong, interval, context.n)


def masking(context: AuditContext) -> Finding:
    """The gap as a finding."""
    gap = gap_of(context)
    return Finding(
        "masking gap", gap.gap, MASKING_GAP_LIMIT, gap.interval, "points",
        "plain PGD overstates most honest nets by 1.5 to 3 points; beyond 4 a slope is hidden, or "
        "its loss is the wrong one for this net, as where all logits lie close together",
        f"The score says that {100 * gap.claimed:.1f} % stand at eps {gap.eps:.3g}; a stronger "
        f"attack leaves {100 * gap.strong:.1f} %.",
        "The score is too good: its attack is too weak for this net, by its loss, its steps or "
        "its start.",
    )  # fmt: skip


def _strong(context: AuditContext) -> Worst:
    """`evaluate` leaves out those that the net has too few classes for."""
    known = [int(getattr(attack, "steps", 0)) for _, attack in context.battery.attacks]
    steps = min(context.steps, max(10, *known))  # as short as the battery's: a search pays for it
    targeted = (
        APGD(context.ball, steps, loss="dlr-targeted", target=k) for k in range(1, TARGETS + 1)
    )
    margin = PGD(context.ball, steps, pace=5 / steps, loss="margin")
    return Worst((margin, *targeted, Square(context.ball, queries=QUERIES * steps)))
