"""The masking gap: the accuracy that a score claims minus the accuracy under a stronger attack.

A search rewards whatever weakens its own attack: logits that saturate the cross-entropy, vanishing
gradients, noise. The gap is cheap enough to be measured for each trial, and reveals such a net.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from adv.attacks import APGD, PGD, Iterative, Ladder, Square, Worst
from adv.attacks.composite import members
from adv.auditing.context import DRAWS, AuditContext, audit_context
from adv.auditing.finding import Finding, Interval, paired_difference, share_with_interval
from adv.auditing.gradient_checks import differentiate
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.score import Score
from adv.intervals import (
    MISSED_BY_CROSS_ENTROPY,
    MISSED_BY_MARGIN,
    WRONG_GRADIENTS_LIMIT,
    expected_miss,
    gap_limit,
    smallest_visible_share,
)

TARGETS = 3
QUERIES = 5  # queries of Square for each gradient step
UNSATURATED = frozenset({"margin", "dlr", "dlr-targeted", "margin-targeted", "mifpe"})
TESTED = 16  # images whose gradients are compared with finite differences


@dataclass(frozen=True)
class Gap:
    """A masking gap: how far the accuracy falls under a stronger attack at the same radius.

    Args:
      eps: the radius.
      claimed: accuracy under the battery's attacks at this radius, in [0, 1].
      strong: accuracy under the stronger attacks.
      interval: the 95 % interval of the difference.
      images: the number of images.
      natural: accuracy without an attack.
      wrong_gradients: share of the images tested by finite differences whose gradient is wrong, in
        [0, 1]. All attacks share the gradient: if it is wrong the stronger ones are weak, too.
      missed: share of the images that can be fooled which the battery may miss on a sound net.
    """

    eps: float
    claimed: float
    strong: float
    interval: Interval
    images: int
    natural: float = 1.0
    wrong_gradients: float = 0.0
    missed: float = MISSED_BY_CROSS_ENTROPY

    @property
    def gap(self) -> float:
        """The difference, a share of the images."""
        return self.claimed - self.strong

    @property
    def limit(self) -> float:
        """The largest gap that is expected of a sound net with this accuracy."""
        return gap_limit(self.natural, self.strong, self.missed)

    @property
    def visible(self) -> float:
        """The smallest gap that so many images can flag, in [0, 1]."""
        return smallest_visible_share(self.limit, self.images)

    @property
    def flagged(self) -> bool:
        """True if the whole interval lies above the limit, or gradients are wrong."""
        wrong = self.wrong_gradients > WRONG_GRADIENTS_LIMIT
        return wrong or self.interval[0] > self.limit


def masking_gap(
    model: nn.Module,
    split: Split,
    battery: Battery | None = None,
    *,
    eps: float = 8 / 255,
    score: Score | None = None,
    batch: int | None = None,
) -> Gap:
    """Attack the images that withstand a battery, with margin losses and with queries alone.

    The stronger attacks are PGD on the margin, APGD on the targeted DLR for the most likely
    classes, and a few queries of Square, which needs no gradient; 10 to 20 steps each, as many as
    the battery has. For a deterministic net they attack the images that are still correct, so the
    gap is never below 0. A random net is attacked anew with twice the draws (10 or more), on the
    margin alone, and evaluated once: images that were correct by chance before do not count as a
    gap. The gradients of 16 images are compared with finite differences, a few forward passes each.

    Args:
      model: as for `evaluate`.
      split: the images.
      battery: the evaluation to check; None: PGD-20 at `eps`.
      eps: the battery's radius closest to this one is used.
      score: the result of `evaluate` for this net and battery, if it is known; its first images
        must be those of `split`.
      batch: as for `evaluate`.

    Raises:
      ValueError: there is no image, or the battery attacks at radius 0 only.
    """
    context = audit_context(model, split, battery, eps, batch, score)
    wrong = differentiate(context, TESTED).wrong_share
    return replace(measure_gap(context), wrong_gradients=wrong)


def measure_gap(context: AuditContext) -> Gap:
    """Return the masking gap of an evaluation, without a look at the gradients themselves."""
    if context.random:
        standing = _attack_random(context)
        interval = paired_difference(context.standing, standing)[1]
    else:
        standing = context.evaluate_under(_strong_attack(context), context.standing)
        interval = share_with_interval(context.standing & ~standing)[1]
    claimed, strong = (float(row.double().mean()) for row in (context.standing, standing))
    natural = float(context.natural.double().mean())
    missed = missed_share_limit(context.battery, lambda: context.confidence)
    return Gap(context.ball.eps, claimed, strong, interval, context.n, natural, missed=missed)


def missed_share_limit(battery: Battery, confidence: Callable[[], float]) -> float:
    """Return which share of the images that can be fooled a battery may miss on a sound net.

    It is small if at each radius an attack has a loss that does not saturate. PGD on the
    cross-entropy alone misses more the less a net is sure.

    Args:
      battery: the attacks.
      confidence: returns the mean of the net's largest probability; called if it is needed.
    """
    return MISSED_BY_MARGIN if has_unsaturated_loss(battery) else expected_miss(confidence())


def has_unsaturated_loss(battery: Battery) -> bool:
    """Return whether at each radius an attack has a loss other than the cross-entropy."""
    radii: dict[float, set[str]] = {}
    for _, attack in battery.attacks:
        losses = {getattr(member, "loss", "") for member in members(attack)}
        radii.setdefault(attack.ball.eps, set()).update(losses)
    return all(found & UNSATURATED for found in radii.values())


def check_masking_gap(context: AuditContext) -> Iterator[Finding]:
    """Yield how far a stronger attack lowers the accuracy, and how far not by its loss alone.

    The cross-entropy is a weak loss on nets that are not sure. So a battery that has no other may
    miss what is expected of such a net, but what the attack of the margin score leaves must stand.
    """
    sure = has_unsaturated_loss(context.battery)
    missed = missed_share_limit(context.battery, lambda: context.confidence)
    margin, strong = _attack(context)
    observed = (
        f"The score claims that {_percent(context.standing)} stay correct at eps "
        f"{context.ball.eps:.3g}; a stronger attack leaves {_percent(strong)}."
    )
    yield _compare(
        context,
        ("masking gap", missed),
        (context.standing, strong),
        observed if sure else f"{observed} The margin score's attack leaves {_percent(margin)}.",
        "The score is too high: its attack is too weak for this net, by its loss, its steps or "
        "its start.",
    )
    if sure or context.random:
        return
    yield _compare(
        context,
        ("margin against stronger attacks", MISSED_BY_MARGIN),
        (margin, strong),
        f"The battery and the margin score's attack leave {_percent(margin)}, attacks on the "
        f"margin, on targets and with queries alone {_percent(strong)}.",
        "Not only the loss is weak: the gradient does not lead to images that other attacks find.",
    )


def _compare(
    context: AuditContext,
    check: tuple[str, float],
    rows: tuple[Tensor, Tensor],
    observation: str,
    meaning: str,
) -> Finding:
    """Return a finding on two attacks.

    Args:
      context: the net and its images.
      check: its name, and the share of the images that can be fooled which the weaker may miss.
      rows: [n] booleans, correct under the weaker and under the stronger attack.
      observation: a sentence on what was measured.
      meaning: a sentence on what it means if the check fails.
    """
    (name, missed), (weak, strong) = check, rows
    if context.random:
        figure, interval = paired_difference(weak, strong)
    else:
        figure, interval = share_with_interval(weak & ~strong)
    natural, standing = (float(row.double().mean()) for row in (context.natural, strong))
    limit = gap_limit(natural, standing, missed)
    visible = smallest_visible_share(limit, context.n)
    return Finding(
        name,
        figure,
        limit,
        interval,
        "points",
        f"on sound nets {_kind_of_nets(context, missed)}such attacks miss less than "
        f"{100 * missed:.0f} % of the images that a stronger attack fools: {100 * limit:.1f} "
        f"points of the {100 * (natural - standing):.1f} that this net loses",
        f"{observation} With {context.n} images a difference under {100 * visible:.1f} points "
        "cannot be told from the limit.",
        meaning,
    )


def _kind_of_nets(context: AuditContext, missed: float) -> str:
    """Return what the limit was predicted from, as a part of a sentence."""
    if missed == MISSED_BY_MARGIN:
        return ""
    return f"with a mean confidence of {100 * context.confidence:.0f} % "


def _attack(context: AuditContext) -> tuple[Tensor, Tensor]:
    """Return [n] booleans: correct under the battery and the margin score's attack, and under all.

    A random net meets PGD on the margin alone, see `masking_gap`.
    """
    if context.random:
        standing = _attack_random(context)
        return standing, standing
    unsaturated = PGD(context.ball, context.steps, pace=2, schedule="cosine", loss="mifpe")
    after = context.evaluate_under(unsaturated, context.standing)
    return after, context.evaluate_under(_strong_attack(context), after)


def _attack_random(context: AuditContext) -> Tensor:
    """Return [n] booleans: which images of a random net withstand PGD on the margin."""
    attack = PGD(context.ball, context.steps, pace=5 / context.steps, loss="margin")
    return context.evaluate_under(attack, draws=2 * max(context.battery.draws, DRAWS))


def _percent(row: Tensor) -> str:
    """Return the share of true elements as text."""
    return f"{100 * float(row.double().mean()):.1f} %"


def _strong_attack(context: AuditContext) -> Worst:
    """Return the stronger attacks; `evaluate` leaves out those that do not support the net."""
    counts = [
        member.steps
        for _, attack in context.battery.attacks
        for member in members(attack)
        if isinstance(member, Iterative | Ladder)
    ]
    steps = min(context.steps, max(10, *counts, 0))  # no longer than the battery's: trials pay
    targeted = (
        APGD(context.ball, steps, loss="dlr-targeted", target=k) for k in range(1, TARGETS + 1)
    )
    margin = PGD(context.ball, steps, pace=5 / steps, loss="margin")
    return Worst((margin, *targeted, Square(context.ball, queries=QUERIES * steps)))
