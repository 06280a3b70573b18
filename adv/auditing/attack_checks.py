"""Checks of the attacks: a stronger attack must do more harm (Carlini et al. 2019)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adv.attacks import FGSM, PGD, Attack, Iterative, Ladder, Worst
from adv.attacks.gradient import loss_and_grad
from adv.auditing.context import AuditContext, JointAttack
from adv.auditing.finding import Finding, paired_difference, share_with_interval
from adv.auditing.gradient_free_checks import check_gradient_free
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed


def check_attacks(context: AuditContext) -> Iterator[Finding]:
    """Yield the findings of all checks that attack the net, weakest attack first."""
    yield check_zero_gradients(context)
    yield from _check_single_step(context)
    yield from _check_more_steps(context)
    yield _check_more_restarts(context)
    yield _check_monotone_in_eps(context)
    yield _check_large_radius(context)
    yield from check_gradient_free(context)


def check_zero_gradients(context: AuditContext) -> Finding:
    """Measure the share of images whose cross-entropy gradient is zero at the attack's start."""
    generator = torch.Generator().manual_seed(context.battery.seed)
    zero = torch.zeros(context.n, dtype=torch.bool)
    model = context.attack_model(max(context.battery.draws, 1))
    with frozen(context.model), use_seed(context.model, context.battery.seed):
        for ids in context.batches(context.natural):
            x, y = context.pixels(ids)
            gradient = loss_and_grad(model, context.ball.sample(x, generator), y).gradient
            zero[ids] = (gradient.nan_to_num(0.0).flatten(1) == 0).all(1).cpu()
    found, interval = (
        share_with_interval(zero[context.natural]) if context.natural.any() else (0.0, (0.0, 0.0))
    )
    return Finding(
        "zero gradients",
        found,
        0.05,
        interval,
        "%",
        "a sound net has hardly any, a net that masks its gradients half of them or all",
        f"At {100 * found:.1f} % of the images the gradient of the loss is exactly zero.",
        "Something in the net blocks the gradient: logits so large that the softmax is exactly 1, "
        "a rounding or a step function, dead units. The attack has no direction and does not move.",
    )


def _check_single_step(context: AuditContext) -> Iterator[Finding]:
    """Compare a single step with many: it must not do more harm, nor far less than many do."""
    single = context.evaluate_under(FGSM(context.ball))
    many = context.standing_pgd
    observation = (
        f"PGD-{context.steps} leaves {_percent(many)} correct, a single step {_percent(single)}."
    )
    found, interval = paired_difference(many, single)
    yield Finding(
        "iterative against single step",
        found,
        0.01,
        interval,
        "points",
        "many small steps can do what one large step does; one point allows for borderline images",
        observation,
        "One step does more harm than many: the gradient leads the small steps astray, so it is "
        "masked.",
    )
    found, interval = paired_difference(single, many)
    yield Finding(
        "single step overstates",
        found,
        0.35,
        interval,
        "points",
        "sound nets, undefended ones too, lose up to 30 points between one step and many; those "
        "that overfitted to single steps lose nearly all",
        observation,
        "The net has learned to resist the single step alone, not the ball around the image "
        "(catastrophic overfitting): its accuracy under FGSM says nothing about robustness.",
    )


def _check_more_steps(context: AuditContext) -> Iterator[Finding]:
    """Repeat the battery's attacks with twice their steps."""
    doubled = tuple(_double_budget(attack) for _, attack in context.battery.attacks)
    steps = max(_count_steps(attack) for _, attack in context.battery.attacks)
    if not steps:
        return
    among = None if context.random else context.standing
    more = context.evaluate_under(doubled, among)
    found, interval = paired_difference(context.standing, more)
    yield Finding(
        "more steps",
        found,
        0.01,
        interval,
        "points",
        "an attack has converged if doubling its steps changes less than a point",
        f"With {steps} steps {_percent(context.standing)} stay correct, with twice as many "
        f"{_percent(more)}.",
        "The attack stops before it has converged: give it more steps, or longer ones.",
    )


def _check_more_restarts(context: AuditContext) -> Finding:
    """Repeat the battery's attacks from more random starts."""
    attacks = tuple(attack for _, attack in context.battery.attacks)
    if context.random:
        starts = 3
        more = context.evaluate_under(attacks * starts)
    else:
        more, starts = context.standing, 5
        for n in range(1, starts):
            more = context.evaluate_under(attacks, more, again=n)
    found, interval = paired_difference(context.standing, more)
    return Finding(
        "more restarts",
        found,
        0.03,
        interval,
        "points",
        "on sound nets the start matters little: five starts cost up to a point or two",
        f"From one start {_percent(context.standing)} stay correct, from {starts} starts "
        f"{_percent(more)}.",
        "Chance decides which image is fooled: the loss surface is so rugged, or the net so "
        "random, that one start misses what the next one finds.",
    )


def _check_monotone_in_eps(context: AuditContext) -> Finding:
    """Check that accuracy falls as the radius grows: 0, half of eps, eps, twice eps."""
    half, double = (context.evaluate_under(_scale_radius(context, k)) for k in (0.5, 2.0))
    rows = [context.natural, half, context.standing_pgd, double]
    rises = [paired_difference(more, less) for less, more in itertools.pairwise(rows)]
    found, interval = max(rises, key=lambda rise: rise[0])
    accuracies = ", ".join(f"{100 * float(row.double().mean()):.1f}" for row in rows)
    return Finding(
        "monotone in eps",
        found,
        0.01,
        interval,
        "points",
        "a larger ball contains the smaller one; one point allows for borderline images",
        f"At 0, a half, one and two eps {accuracies} % stay correct.",
        "The attack finds less in a larger ball than in a smaller one inside it: it gets lost.",
    )


def _check_large_radius(context: AuditContext) -> Finding:
    """Check that accuracy falls to chance at a radius where every image can be made grey."""
    x, _ = context.pixels(torch.arange(1))
    eps = float(context.ball.distance(x + 0.5, x))
    standing = context.evaluate_under(replace(context.pgd, ball=replace(context.ball, eps=eps)))
    found, interval = share_with_interval(standing)
    counts = context.split.labels.bincount()
    chance = float(counts.max()) / context.n
    return Finding(
        "a large radius reaches chance",
        found,
        chance,
        interval,
        "%",
        "at eps 0.5 every image can be made plain grey, so no net can do better than guess",
        f"At eps {eps:.3g} {100 * found:.1f} % stay correct; guessing gives {100 * chance:.1f} %.",
        "Images that need not show anything any more are still classified correctly: the attack "
        "does not reach them, so the gradient is masked.",
    )


def _scale_radius(context: AuditContext, factor: float) -> PGD:
    """Return the audit's PGD at a multiple of the radius."""
    return replace(context.pgd, ball=replace(context.ball, eps=factor * context.ball.eps))


def _count_steps(attack: Attack) -> int:
    """Return the steps of an attack, the most of its members; 0 if it has none."""
    if isinstance(attack, Worst | JointAttack):
        return max(_count_steps(member) for member in attack.attacks)
    return attack.steps if isinstance(attack, Iterative | Ladder) else 0


def _double_budget(attack: Attack) -> Attack:
    """Return the attack with twice its steps or queries; one that has neither is unchanged."""
    if isinstance(attack, Worst | JointAttack):
        return Worst(tuple(_double_budget(member) for member in attack.attacks))
    if attack.budget_setting is None:
        return attack
    changed: dict[str, Any] = {attack.budget_setting: 2 * getattr(attack, attack.budget_setting)}
    return replace(attack, **changed)  # type: ignore[type-var]  # every attack is a dataclass


def _percent(row: Tensor) -> str:
    """Return the share of true elements as text."""
    return f"{100 * float(row.double().mean()):.1f} %"
